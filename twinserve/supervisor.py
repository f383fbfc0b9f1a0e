"""Runs children together: start in parallel, wait for ready or dead, watch, stop in order.

Rules: every child is stopped by its pid, whatever happens; the gateway goes first so that it can drain. Waiting ends
at the first of ready, dead and the deadline.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from twinserve.child import Child, ChildPlan
from twinserve.diagnosis import likely_cause

POLL_INTERVAL_S = 0.1
STOP_TIMEOUT_S = 35.0  # longer than the gateway takes to drain


class StartError(Exception):
    """A child did not become ready; the message has its last log lines and the likely cause."""


@dataclass(frozen=True)
class Death:
    """A child that ended without being asked to."""

    name: str
    exit_code: int
    cause: str | None
    log_tail: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.name} died with exit code {self.exit_code}{': ' + self.cause if self.cause else ''}"]
        return "\n".join([*lines, *(f"  | {line}" for line in self.log_tail)])


class Supervisor:
    """Owns the children started through it; leaving the `with` block stops them all."""

    def __init__(self, stop_asked: threading.Event) -> None:
        self._stop_asked = stop_asked
        self._children: list[Child] = []
        self._reported: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def children(self) -> Sequence[Child]:
        return tuple(self._children)

    def start(self, plan: ChildPlan) -> Child:
        """Start a child and return at once. Raises OSError."""
        child = Child(plan)
        self._children.append(child)
        return child

    def wait_ready(self, timeout_s: float, on_ready: Callable[[Child, float], None]) -> bool:
        """Wait until every child is ready, telling `on_ready` which after how many seconds.

        False when a stop was asked for meanwhile. Raises StartError when one dies or the time is over.
        """
        started = time.monotonic()
        waiting = list(self._children)
        while waiting:
            for death in self.deaths():
                raise StartError(str(death))
            for child in [child for child in waiting if child.plan.is_ready()]:
                waiting.remove(child)
                on_ready(child, time.monotonic() - started)
            if waiting and time.monotonic() - started > timeout_s:
                raise StartError(_late(waiting, timeout_s))
            if self._stop_asked.wait(POLL_INTERVAL_S):
                return False
        return True

    def wait_stop(self, timeout_s: float) -> bool:
        """Whether a stop was asked for, waiting at most this long for it."""
        return self._stop_asked.wait(timeout_s)

    def deaths(self) -> list[Death]:
        """Children that ended since the last call."""
        dead = [child for child in self._children if child.exit_code is not None and child.pid not in self._reported]
        self._reported.update(child.pid for child in dead)
        return [_autopsy(child) for child in dead]

    def stop(self) -> None:
        """Stop every child: the last started first, the others together. Safe to call twice."""
        for together in (self._children[-1:], self._children[:-1]):
            for child in together:
                child.ask_to_stop()
            for child in together:
                child.stop(STOP_TIMEOUT_S)
        self._children.clear()


def _autopsy(child: Child) -> Death:
    tail = child.log_tail()
    exit_code = child.exit_code or 0
    return Death(child.name, exit_code, likely_cause(exit_code, tail), tuple(tail))


def _late(waiting: Sequence[Child], timeout_s: float) -> str:
    lines = []
    for child in waiting:
        lines.append(f"{child.name} is not ready after {timeout_s:g} s (its log: {child.plan.log})")
        lines += [f"  | {line}" for line in child.log_tail()]
    return "\n".join(lines)
