"""Runs children together: starts them in parallel, starts them again when they die, replaces those that hang.

Rules: what to do next is decided in child_life; here it is done. Every child is stopped by its pid, whatever happens;
the last started goes first (the gateway, so that it can drain). The lifeline sees to them if this process is killed.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from twinserve.child import Plan, Run
from twinserve.child_life import (
    Life,
    Limits,
    Move,
    Seen,
    State,
    asked_to_stop,
    buried,
    next_move,
    settled,
    started,
    stopped,
    wait_s,
)
from twinserve.diagnosis import likely_cause
from twinserve.lifeline import Lifeline

POLL_INTERVAL_S = 0.1
LONGEST_ROUND_S = 2.0
STOP_TIMEOUT_S = 35.0  # longer than the gateway takes to drain

Report = Callable[[str], None]


class StartError(Exception):
    """A child did not become ready; the message has its last log lines and the likely cause."""


@dataclass
class Supervised:
    """A child over all its runs."""

    plan: Plan
    run: Run
    life: Life
    run_started_at: float  # Unix time

    @property
    def name(self) -> str:
        return self.plan.name


class Supervisor:
    """Owns the children started through it; leaving the `with` block stops them all."""

    def __init__(self, stop_asked: threading.Event, lifeline: Lifeline, report: Report, limits: Limits) -> None:
        self._stop_asked = stop_asked
        self._lifeline = lifeline
        self._report = report
        self._limits = limits
        self._children: list[Supervised] = []
        self._tended_at = time.monotonic()
        self._last_problem = ""
        self._left_over: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def children(self) -> Sequence[Supervised]:
        return tuple(self._children)

    @property
    def left_over(self) -> Sequence[str]:
        """The containers that `stop` could not remove."""
        return tuple(self._left_over)

    def start(self, plan: Plan) -> Supervised:
        """Start a child for the first time and return at once. Raises OSError."""
        child = Supervised(plan, self._run(plan), Life(State.STARTING, time.monotonic()), time.time())
        self._children.append(child)
        return child

    def wait_ready(self, timeout_s: float, on_ready: Callable[[Supervised, float], None]) -> bool:
        """Wait until every child is ready, telling `on_ready` which after how many seconds.

        False when a stop was asked for meanwhile. Raises StartError when one dies or the time is over: a first start
        that fails wants a person, not another try.
        """
        begun = time.monotonic()
        waiting = list(self._children)
        while waiting:
            for child in self._children:
                if child.run.exit_code is not None:
                    raise StartError(_last_words(child, _cause(child)))
            for child in [child for child in waiting if child.plan.is_ready()]:
                waiting.remove(child)
                child.life = settled(child.life, time.monotonic())
                on_ready(child, time.monotonic() - begun)
            if waiting and time.monotonic() - begun > timeout_s:
                raise StartError("\n".join(_late(child, timeout_s) for child in waiting))
            if self._stop_asked.wait(POLL_INTERVAL_S):
                return False
        return True

    def tend(self) -> bool:
        """One round over all children; returns whether anything changed.

        What the machine refuses, a full disk or no more processes, is reported and costs no healthy child.
        """
        now = time.monotonic()
        if now - self._tended_at > LONGEST_ROUND_S:
            # This process was suspended or starved: nobody was asked, so nobody was silent.
            for child in self._children:
                child.run.answered_at = now if child.run.answered_at is not None else None
        self._tended_at = now
        self._try_to("mend the lifeline", self._lifeline.mend)
        moves = [self._tend(child) for child in self._children]
        for child in self._children:
            self._try_to(f"rotate the log of {child.name}", child.plan.log.rotate)
        return any(move is not Move.STAY for move in moves)

    def replace(self, child: Supervised, cause: str) -> None:
        """Ask a ready child to stop; `tend` starts it afresh once it has ended. Raises ValueError unless it is ready.

        Returns at once. A child that does not end in time is killed. This is no failed start.
        """
        child.life = asked_to_stop(child.life, time.monotonic(), cause)
        child.run.ask_to_stop()
        self._report(f"{child.name} is stopped, to be started afresh: {cause}")

    def wait_stop(self, timeout_s: float) -> bool:
        """Whether a stop was asked for, waiting at most this long for it."""
        return self._stop_asked.wait(timeout_s)

    def stop(self) -> None:
        """Stop every child: the last started first, the others together. Safe to call twice."""
        for together in (self._children[-1:], self._children[:-1]):
            for child in together:
                child.run.ask_to_stop()
            for child in together:
                child.run.stop(STOP_TIMEOUT_S)
                self._lifeline.release(_mortal(child.run))
                if child.run.left_over:
                    self._left_over.append(child.run.container or child.name)
                    self._report(f"{child.name}: {child.run.left_over}; the next start removes it")
        self._children.clear()

    def _run(self, plan: Plan) -> Run:
        if plan.container:
            # By its name, so before there is one: making and starting it takes long enough to be killed meanwhile.
            # Held on where that fails, since nobody knows what a daemon has done that did not answer.
            self._lifeline.hold(plan.container)
        run = plan.start()
        if not plan.container:
            self._lifeline.hold(run.pid)
        return run

    def _try_to(self, what: str, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            problem = f"cannot {what}: {error}"
            if problem != self._last_problem:
                self._report(problem)
            self._last_problem = problem

    def _tend(self, child: Supervised) -> Move:
        now = time.monotonic()
        # A child that waits has no run to look at; its last one is over.
        seen = Seen(now, child.run.exit_code is not None, child.run.answered_at)
        move = next_move(child.life, seen, self._limits)
        if move is Move.SETTLE:
            child.life = settled(child.life, now)
            self._report(f"{child.name}: up again (pid {child.run.pid})")
        elif move is Move.START:
            self._start_again(child, now)
        elif move is Move.BURY:
            self._bury(child, _cause(child))
        elif move is Move.REPLACE:
            self._bury(child, "it hung: it did not answer its probe any more and was killed")
        elif move is Move.RENEW:
            self._end(child)
            child.life = stopped(child.life, time.monotonic())
            self._start_again(child, time.monotonic())
        return move

    def _start_again(self, child: Supervised, now: float) -> None:
        child.life = started(child.life, now)
        try:
            child.run, child.run_started_at = self._run(child.plan), time.time()
        except OSError as error:
            child.life = buried(child.life, now, None, f"it could not be started: {error}", self._limits)
            self._report(f"{child.name}: {child.life.last_cause}")

    def _bury(self, child: Supervised, cause: str) -> None:
        words = _last_words(child, cause)
        self._end(child)
        child.life = buried(child.life, time.monotonic(), child.run.answered_at, cause, self._limits)
        self._report(words)
        if child.life.state is State.GAVE_UP:
            starts = self._limits.failed_starts
            self._report(f"{child.name}: left alone after {starts} failed starts in a row; mend the cause, start again")
        else:
            self._report(f"{child.name}: starting again in {wait_s(child.life, self._limits):g} s")

    def _end(self, child: Supervised) -> None:
        child.run.kill()  # also what is left of its group
        if not child.run.left_over:
            self._lifeline.release(_mortal(child.run))


def _mortal(run: Run) -> int | str:
    """What dies with this process: a container, or a process group."""
    return run.container or run.pid


def _cause(child: Supervised) -> str:
    exit_code = child.run.exit_code or 0
    return likely_cause(exit_code, child.run.log_tail()) or f"it ended with exit code {exit_code}"


def _last_words(child: Supervised, cause: str) -> str:
    exit_code = child.run.exit_code
    ended = f"died with exit code {exit_code}" if exit_code is not None else "is replaced"
    return "\n".join([f"{child.name} {ended}: {cause}", *(f"  | {line}" for line in child.run.log_tail())])


def _late(child: Supervised, timeout_s: float) -> str:
    lines = [f"{child.name} is not ready after {timeout_s:g} s (its log: {child.plan.log.path})"]
    return "\n".join([*lines, *(f"  | {line}" for line in child.run.log_tail())])
