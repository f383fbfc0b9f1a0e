"""When a canary is worse than the live version: one table of windows and judgements."""

import pytest

from gateway.core.canary import CanaryLimits, judge
from gateway.core.counts import BUCKETS, Counts, bucket_of, total, window

LIMITS = CanaryLimits(max_error_rate=0.01, max_p99_ratio=2.0, min_samples=100)


def counts(answered: int, seconds: float = 0.01, faults: int = 0, slow: int = 0, slow_s: float = 1.0) -> Counts:
    made = Counts(accepted=answered + faults, answered=answered, failed=faults, faults=faults)
    made.latency[bucket_of(seconds)] = answered - slow
    made.latency[bucket_of(slow_s)] += slow
    return made


@pytest.mark.parametrize(
    ("candidate", "live", "problem", "is_enough"),
    [
        (counts(1000), counts(1000), "", True),
        (counts(99), counts(1000), "", False),
        (counts(0), counts(1000), "", False),
        (counts(1), counts(0), "", False),
        (counts(3, faults=2), counts(1000), "", False),
        (counts(0, faults=100), counts(1000), "100 of 100 requests failed (100.0%)", True),
        (counts(95, faults=5), counts(1000), "5 of 100 requests failed", True),
        (counts(98, faults=2), counts(1000), "", True),
        (counts(900, faults=100), counts(900, faults=100), "", True),
        (counts(1000, seconds=0.015), counts(1000), "", True),
        (counts(1000, seconds=0.1), counts(1000), "1000 of 1000 answers took longer than", True),
        (counts(1000, slow=10), counts(1000), "", True),
        (counts(1000, slow=40), counts(1000), "40 of 1000 answers took longer than", True),
        (counts(100, slow=2), counts(1000), "", True),
        (counts(1000, seconds=0.1), counts(50), "", True),
    ],
)
def test_judgement(candidate: Counts, live: Counts, problem: str, is_enough: bool) -> None:
    judged = judge(candidate, live, LIMITS)
    assert judged.is_enough is is_enough
    assert problem in judged.problem
    assert bool(judged.problem) is bool(problem)


@pytest.mark.parametrize(("copies", "mismatches", "is_bad"), [(1000, 10, False), (1000, 11, True), (5, 2, False)])
def test_engines_that_disagree(copies: int, mismatches: int, is_bad: bool) -> None:
    candidate = counts(1000)
    candidate.copies, candidate.mismatches = copies, mismatches
    assert ("the engines disagreed" in judge(candidate, counts(1000), LIMITS).problem) is is_bad


def test_what_the_other_engine_answered_instead_counts_as_an_error() -> None:
    candidate = counts(100)
    candidate.rescued = 50
    assert "50 of 100 requests failed" in judge(candidate, counts(1000), LIMITS).problem


def test_quantiles_are_at_most_a_tenth_too_long() -> None:
    measured = Counts()
    for milliseconds in range(1, 1001):
        measured.add_latency(milliseconds / 1000)
    for share, seconds in ((0.5, 0.5), (0.99, 0.99)):
        quantile_s = measured.quantile_s(share)
        assert quantile_s is not None
        assert seconds <= quantile_s <= 1.1 * seconds
    assert Counts().quantile_s(0.5) is None
    assert bucket_of(0) == 0
    assert bucket_of(1e9) == BUCKETS - 1


def test_windows_add_up_and_are_never_negative() -> None:
    before, now = counts(10), counts(30, faults=2)
    assert window(now, before) == counts(20, faults=2)
    assert window(before, now) == Counts()
    assert total([before, window(now, before)]) == now
