"""Forward passes of one network by several ways of running it, measured in turns within one process."""

import time
from collections.abc import Callable, Iterator, Mapping

from contracts.findings import Finding
from workers.factors.durations import Call, medians_in_turns_ms
from workers.factors.task import Task, attempt

ROWS, QUICK_ROWS = (1, 32), (1,)
ROUNDS, QUICK_ROUNDS = 10, 5
TURN_S, QUICK_TURN_S = 0.5, 0.15

Passes = Callable[[int], Call]
"""For a number of rows, one forward pass over that many images."""


def measure_graphs(task: Task, ways: Mapping[str, Callable[[], Passes]]) -> Iterator[Finding]:
    """For each way, the seconds until its first answer and the latency of later ones; `ways` make their graphs."""
    for rows in QUICK_ROWS if task.is_quick else ROWS:
        ready: dict[str, Call] = {}
        for name, make in ways.items():
            yield attempt(
                f"{name}: made and first answered, {_amount(rows)}",
                "ms",
                "wall time of making the graph, if any, and its first pass; the framework is imported already",
                _first(name, make, rows, ready),
            )
        yield from _latencies(task, rows, ready)


def _first(name: str, make: Callable[[], Passes], rows: int, ready: dict[str, Call]) -> Callable[[], float]:
    def measure() -> float:
        started = time.perf_counter()
        call = make()(rows)
        call()
        took_ms = (time.perf_counter() - started) * 1000
        ready[name] = call
        return took_ms

    return measure


def _latencies(task: Task, rows: int, ready: Mapping[str, Call]) -> Iterator[Finding]:
    rounds, turn_s = (QUICK_ROUNDS, QUICK_TURN_S) if task.is_quick else (ROUNDS, TURN_S)
    how = f"median of all passes, {rounds} turns of {turn_s} s each, taken in turns in one process; usual threads"
    for name, latency_ms in medians_in_turns_ms(ready, rounds, turn_s).items():
        yield Finding(f"{name}: latency, {_amount(rows)}", how, latency_ms, "ms")


def _amount(rows: int) -> str:
    return f"{rows} row{'s' if rows > 1 else ''}"
