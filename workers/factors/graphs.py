"""Forward passes of one network by several ways of running it, measured in turns within one process."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping

from contracts.findings import Finding
from workers.factors.durations import Call, medians_in_turns_ms
from workers.factors.task import Task, attempt, reason_of

ROWS, QUICK_ROWS = (1, 32), (1,)
ROUNDS, QUICK_ROUNDS = 10, 5
TURN_S, QUICK_TURN_S = 0.5, 0.15

Passes = Callable[[int], Call]
"""For a number of rows, one forward pass over that many images."""

_MADE_HOW = (
    "wall time of making the graph, if any, and its first pass, number {turn} of {count} in one process; "
    "includes what the framework sets up once at first use, so an earlier way pays for the later ones"
)


def measure_graphs(task: Task, ways: Mapping[str, Callable[[], Passes]]) -> Iterator[Finding]:
    """For each way, the time until its first answer and the latency of later ones; `ways` make their graphs.

    The first answer is told for the first number of rows alone: by the next, everything has been set up.
    """
    first, *others = QUICK_ROWS if task.is_quick else ROWS
    made: dict[str, Passes] = {}
    for turn, (name, make) in enumerate(ways.items(), 1):
        yield attempt(
            f"{name}: made and first answered, {_amount(first)}",
            "ms",
            _MADE_HOW.format(turn=turn, count=len(ways)),
            functools.partial(_made_ms, name, make, first, made),
        )
    for rows in (first, *others):
        yield from _latencies(task, rows, made)


def _made_ms(name: str, make: Callable[[], Passes], rows: int, made: dict[str, Passes]) -> float:
    started = time.perf_counter()
    passes = make()
    passes(rows)()
    took_ms = (time.perf_counter() - started) * 1000
    made[name] = passes
    return took_ms


def _latencies(task: Task, rows: int, made: Mapping[str, Passes]) -> Iterator[Finding]:
    """One that cannot take so many rows, or fails later, is a finding too."""
    rounds, turn_s = (QUICK_ROUNDS, QUICK_TURN_S) if task.is_quick else (ROUNDS, TURN_S)
    how = f"median of all passes, {rounds} turns of {turn_s} s each, taken in turns in one process; usual threads"
    calls: dict[str, Call] = {}
    for name, passes in made.items():
        try:
            call = passes(rows)
            call()  # which compiles for that many rows, where that is needed
        except Exception as error:  # noqa: BLE001 - frameworks raise anything, and the next way may do well
            yield Finding(f"{name}: latency, {_amount(rows)}", how, why_not=reason_of(error))
        else:
            calls[name] = call
    try:
        found = medians_in_turns_ms(calls, rounds, turn_s)
    except Exception as error:  # noqa: BLE001 - as above
        for name in calls:
            yield Finding(f"{name}: latency, {_amount(rows)}", how, why_not=f"one of the ways: {reason_of(error)}")
        return
    for name, latency_ms in found.items():
        yield Finding(f"{name}: latency, {_amount(rows)}", how, latency_ms, "ms")


def _amount(rows: int) -> str:
    return f"{rows} row{'s' if rows > 1 else ''}"
