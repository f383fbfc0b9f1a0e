"""How long a call takes: medians, since a shared machine makes means tell of its other work."""

import statistics
import time
from collections.abc import Callable, Mapping

Call = Callable[[], object]


def median_ms(call: Call, repeats: int) -> float:
    """Milliseconds of one call, the median of `repeats`."""
    return statistics.median(_duration_s(call) for _ in range(repeats)) * 1000


def medians_in_turns_ms(calls: Mapping[str, Call], rounds: int, turn_s: float) -> dict[str, float]:
    """Milliseconds of each call: all have their turn of `turn_s` in every round, so that none has the bad minute alone.

    Each is called once before, and that does not count.
    """
    durations_s: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            until = time.perf_counter() + turn_s
            while not durations_s[name] or time.perf_counter() < until:
                durations_s[name].append(_duration_s(call))
    return {name: statistics.median(seen) * 1000 for name, seen in durations_s.items()}


def _duration_s(call: Call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
