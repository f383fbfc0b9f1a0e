"""The highest load at which latency keeps its promise: a search that is told of points and names the next. Pure."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from loadtest.compare.statistics import find_quantile, upper_bound
from loadtest.compare.trials import LEAST_COMPLETED, MOST_ERRORS, NOT_SENT, Trial

RAMP = 1.25
PRECISION = 1.03
MOST_LATE_OF_SLO = 0.2
MOST_TRIALS = 24
_DOWN_TO = 10  # of where a search began: below that, nothing is thought to pass


class LoadPoint(msgspec.Struct, frozen=True):
    """One trial at one offered load. `p99_upper_ms` is below the true p99 in 5 % of cases at most; None: n too small.

    `why` has what speaks against it; `is_late`: the load generator was, so that it says nothing about the engine.
    """

    rate_per_s: float
    requests: int
    answered_per_s: float
    mean_ms: float | None
    p50_ms: float | None
    p50_low_ms: float | None
    p50_high_ms: float | None
    p99_ms: float | None
    p99_low_ms: float | None
    p99_high_ms: float | None
    p99_upper_ms: float | None
    error_percent: float
    completed_percent: float
    late_p99_ms: float
    is_passed: bool
    is_late: bool
    why: tuple[str, ...]


def judge(trial: Trial, slo_ms: float) -> LoadPoint:
    """The pass rule: the upper bound of p99, errors, completion, and the load generator's own lateness."""
    milliseconds = trial.answered * 1000
    p50, p99 = (find_quantile(milliseconds, level) for level in (0.5, 0.99))
    upper = upper_bound(milliseconds, 0.99)
    completed = trial.completed_share(slo_ms / 1000)
    is_late = trial.late_p99_s * 1000 > MOST_LATE_OF_SLO * slo_ms
    why = []
    if upper is None:
        why.append("n too small for a bound of p99")
    elif upper > slo_ms:
        why.append("p99's upper bound is above the SLO")
    if trial.error_share > MOST_ERRORS or trial.faults or NOT_SENT in trial.failures:
        why.append("errors: " + ", ".join([*trial.failures, *trial.faults[:1]]))
    if completed < LEAST_COMPLETED:
        why.append("not all were answered in time")
    if is_late:
        why.append("the load generator was late")
    return LoadPoint(
        rate_per_s=trial.load.rate_per_s or 0.0,
        requests=len(trial.due_s),
        answered_per_s=len(milliseconds) / trial.seconds,
        mean_ms=float(np.mean(milliseconds)) if len(milliseconds) else None,
        p50_ms=p50.value,
        p50_low_ms=p50.low,
        p50_high_ms=p50.high,
        p99_ms=p99.value,
        p99_low_ms=p99.low,
        p99_high_ms=p99.high,
        p99_upper_ms=upper,
        error_percent=100 * trial.error_share,
        completed_percent=100 * completed,
        late_p99_ms=trial.late_p99_s * 1000,
        is_passed=not why,
        is_late=is_late,
        why=tuple(why),
    )


@dataclass(frozen=True)
class Search:
    """Ramp up by RAMP until a rate fails, or down until one passes; then halve what is between, to PRECISION."""

    start_per_s: float
    fails_needed: int = 1

    def next_rate(self, points: Sequence[LoadPoint]) -> float | None:
        """The next rate to try; None when the search is over."""
        if len(points) >= MOST_TRIALS:
            return None
        if not points:
            return self.start_per_s
        last = points[-1]
        if not last.is_passed and self._fails(points)[last.rate_per_s] < self.fails_needed:
            return last.rate_per_s
        low, high = self.bracket(points)
        if low is None:
            lowest = min(point.rate_per_s for point in points)
            return lowest / RAMP if lowest > self.start_per_s / _DOWN_TO else None
        if high is None:
            return low * RAMP
        return math.sqrt(low * high) if high / low > PRECISION else None

    def bracket(self, points: Sequence[LoadPoint]) -> tuple[float | None, float | None]:
        """The highest rate that passed, and the lowest above it that failed often enough; None where there is none."""
        low = max((point.rate_per_s for point in points if point.is_passed), default=None)
        failed = [rate for rate, count in self._fails(points).items() if count >= self.fails_needed]
        return low, min((rate for rate in failed if low is None or rate > low), default=None)

    @staticmethod
    def _fails(points: Sequence[LoadPoint]) -> Counter[float]:
        return Counter(point.rate_per_s for point in points if not point.is_passed)


def find_knee(points: Sequence[LoadPoint]) -> float | None:
    """The offered load of the greatest power, answers a second over mean latency; None without a good point.

    Beyond it, latency grows faster than what is answered (Kleinrock, On Flow Control in Computer Networks, 1978).
    """
    known = [(p.answered_per_s / p.mean_ms, p.rate_per_s) for p in points if p.mean_ms and p.error_percent == 0]
    return max(known)[1] if known else None
