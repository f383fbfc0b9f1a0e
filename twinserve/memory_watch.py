"""Measures the engines' memory in a thread of its own, tells the gateway by a file, and has what grew replaced.

What else is measured of them is measured in the same rounds.

Rules: the thread measures, asks and writes, and changes nothing else; what to do is decided in memory_guard and done
from the supervisor's own loop, because the supervisor belongs to one thread.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from twinserve.child_life import State
from twinserve.engine_memory import can_measure, measure, write_memory
from twinserve.memory_guard import (
    GatewayWord,
    GuardLimits,
    Records,
    Replace,
    Seen,
    Wait,
    has_suspects,
    next_order,
    noted,
    replaced,
)
from twinserve.supervisor import Supervised, Supervisor

LARGEST_SHARE = 0.01
"""Measuring takes at most this share of a processor core: bigger engines are measured less often."""

_STOP_TIMEOUT_S = 5.0

AskGateway = Callable[[], GatewayWord | None]
MeasureMore = Callable[[Mapping[str, int]], None]
"""What else to measure of the engines, by their process groups, and to tell the gateway. Raises OSError."""


@dataclass(frozen=True)
class Reading:
    """One round: process ids and bytes by engine, what the gateway said if it was asked, what went wrong."""

    pids: Mapping[str, int]
    memory: Mapping[str, int]
    word: GatewayWord | None = None
    problem: str = ""


class MemoryWatch:
    """Watches while the `with` block runs; `tend` is to be called from the loop that tends the supervisor."""

    def __init__(
        self,
        supervisor: Supervisor,
        engines: tuple[str, ...],
        path: Path,
        ask_gateway: AskGateway,
        limits: GuardLimits,
        report: Callable[[str], None],
        measure_more: MeasureMore,
    ) -> None:
        self._supervisor = supervisor
        self._engines = engines
        self._path = path
        self._ask_gateway = ask_gateway
        self._limits = limits
        self._report = report
        self._measure_more = measure_more
        self._problem_with_more = ""
        self._records: Records = {}
        self._reading: Reading | None = None
        self._is_word_wanted = False
        self._said = ""
        self._stop_asked = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def __enter__(self) -> Self:
        self._path.unlink(missing_ok=True)
        if self._engines and can_measure():
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_asked.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_TIMEOUT_S)
        self._path.unlink(missing_ok=True)

    def tend(self) -> bool:
        """Judge the newest measurement, if there is one; returns whether an engine is being replaced for it."""
        if self._thread.ident is not None and not self._thread.is_alive():
            self._say("the engines' memory is not measured any more; see the error above")
        reading, self._reading = self._reading, None
        if reading is None:
            return False
        now = time.monotonic()
        children = self._children()
        engines = {name: _seen(child, reading, now) for name, child in children.items()}
        self._records = noted(self._records, engines, self._limits)
        self._is_word_wanted = has_suspects(self._records)
        order = next_order(self._records, engines, reading.word, now, self._limits)
        if isinstance(order, Wait):
            self._say(f"{order.engine} is to be replaced, but not yet: {order.why}", order.cause)
        elif problem := reading.problem or self._problem_with_more:
            self._say(problem)
        else:
            self._said = ""
        if not isinstance(order, Replace):
            return False
        self._records = replaced(self._records, order.engine, now, self._limits)
        self._supervisor.replace(children[order.engine], order.cause)
        return True

    def _children(self) -> dict[str, Supervised]:
        return {child.name: child for child in self._supervisor.children if child.name in self._engines}

    def _say(self, what: str, detail: str = "") -> None:
        """Once, until something else is to be said; the detail may change meanwhile."""
        if what != self._said:
            self._report(f"{what} ({detail})" if detail else what)
        self._said = what

    def _run(self) -> None:
        pause_s = self._limits.interval_s
        while not self._stop_asked.wait(pause_s):
            before_s = time.thread_time()
            self._reading = reading = self._measure()
            self._tell_more(reading.pids)
            pause_s = max(self._limits.interval_s, (time.thread_time() - before_s) / LARGEST_SHARE)

    def _measure(self) -> Reading:
        pids = {name: child.run.pid for name, child in self._children().items()}
        memory: Mapping[str, int] = {}
        problem = ""
        try:
            memory = measure(pids)
            write_memory(self._path, memory)
        except OSError as error:
            problem = f"what the engines use cannot be told to the gateway: {error}"
        return Reading(pids, memory, self._ask_gateway() if self._is_word_wanted else None, problem)

    def _tell_more(self, pids: Mapping[str, int]) -> None:
        """After the memory was handed over: what a GPU's driver makes of being asked must not cost the guard."""
        try:
            self._measure_more(pids)
            self._problem_with_more = ""
        except Exception as error:  # noqa: BLE001 (whatever a driver's library raises)
            self._problem_with_more = f"what the engines use cannot be told to the gateway: {error}"


def _seen(child: Supervised, reading: Reading, now: float) -> Seen:
    """The child now, with what was measured of this very process."""
    is_same = reading.pids.get(child.name) == child.run.pid
    ready_s = now - child.life.since if child.life.state is State.READY else None
    return Seen(child.run.pid, ready_s, reading.memory.get(child.name) if is_same else None)
