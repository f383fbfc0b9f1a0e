"""Whether a canary does worse than the live version beside it: a pure judgement on two windows of counts.

Rules: no judgement on few requests. Errors count by the difference of the two rates, so that what ails both versions
is not the new one's fault; they count also where the other engine answered instead, which clients do not notice.
Slowness counts by how many answers took longer than the allowed multiple of the live version's 99th percentile: one in
a hundred may, and chance is given three standard deviations. Where answers were copied to the other engine, more than
one disagreement in a hundred is one too many.
"""

from dataclasses import dataclass

from gateway.core.counts import Counts

_CHANCE_DEVIATIONS = 3.0
_FEWEST_BAD = 3


@dataclass(frozen=True, slots=True)
class CanaryLimits:
    """What a canary may do worse. `max_error_rate` is a difference of shares, `max_p99_ratio` a multiple."""

    max_error_rate: float = 0.01
    max_p99_ratio: float = 3.0
    min_samples: int = 100


@dataclass(frozen=True, slots=True)
class Judgement:
    """`problem` says what is worse, "" when nothing is; `is_enough` whether there were enough requests to say so."""

    problem: str
    is_enough: bool


def judge(candidate: Counts, live: Counts, limits: CanaryLimits) -> Judgement:
    """Compare the candidate's window with the live version's."""
    finished = candidate.finished
    problem = _errors(candidate, live, limits) or _slowness(candidate, live, limits) or _disagreement(candidate)
    return Judgement(problem, finished >= limits.min_samples)


def _errors(candidate: Counts, live: Counts, limits: CanaryLimits) -> str:
    if not candidate.finished or candidate.troubled < _FEWEST_BAD:
        return ""
    live_rate = live.troubled / live.finished if live.finished else 0.0
    allowed = (live_rate + limits.max_error_rate) * candidate.finished
    if candidate.troubled <= allowed + _CHANCE_DEVIATIONS * allowed**0.5:
        return ""
    rate = candidate.troubled / candidate.finished
    return (
        f"{candidate.troubled} of {candidate.finished} requests failed ({rate:.1%}), of the live version's "
        f"{live.troubled} of {live.finished} ({live_rate:.1%}); allowed are {limits.max_error_rate:.1%} more"
    )


def _slowness(candidate: Counts, live: Counts, limits: CanaryLimits) -> str:
    live_p99_s = live.quantile_s(0.99)
    answered = sum(candidate.latency)
    if live_p99_s is None or sum(live.latency) < limits.min_samples or not answered:
        return ""
    limit_s = live_p99_s * limits.max_p99_ratio
    slow = candidate.slower_than(limit_s)
    expected = 0.01 * answered
    if slow < _FEWEST_BAD or slow <= expected + _CHANCE_DEVIATIONS * expected**0.5:
        return ""
    return (
        f"{slow} of {answered} answers took longer than {limit_s * 1000:.1f} ms, which is {limits.max_p99_ratio:g} "
        f"times the live version's 99th percentile of {live_p99_s * 1000:.1f} ms; allowed is one in a hundred"
    )


def _disagreement(candidate: Counts) -> str:
    if candidate.mismatches < _FEWEST_BAD or candidate.mismatches <= 0.01 * candidate.copies:
        return ""
    return f"the engines disagreed on {candidate.mismatches} of {candidate.copies} copied answers"
