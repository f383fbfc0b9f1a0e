"""The search for throughput at an SLO, against engines whose every latency is known."""

from dataclasses import replace

import numpy as np
import pytest

from loadtest.arrivals import poisson_arrivals
from loadtest.compare.slo import MOST_TRIALS, LoadPoint, Search, find_knee, judge
from loadtest.compare.trials import Load, Trial
from tests.unit.loadtest.compare.simulated import queue_latencies, trial_of

SLO_MS = 50.0


def constant(rate_per_s: float, latency_s: float, duration_s: float = 4.0) -> Trial:
    due_s = np.arange(0, duration_s, 1 / rate_per_s)
    return trial_of(due_s, np.full(len(due_s), latency_s), Load(duration_s, rate_per_s))


def search(limit_per_s: float, start_per_s: float, fails_needed: int = 1) -> list[LoadPoint]:
    """All points of a search on an engine that is fast up to a limit and slow beyond."""
    points: list[LoadPoint] = []
    searching = Search(start_per_s, fails_needed)
    while (rate := searching.next_rate(points)) is not None:
        points.append(judge(constant(rate, 0.01 if rate <= limit_per_s else 0.2), SLO_MS))
    return points


@pytest.mark.parametrize("limit", [130.0, 200.0, 333.0, 1000.0])
@pytest.mark.parametrize("start", [150.0, 600.0])
def test_the_limit_is_found_to_three_percent(limit: float, start: float) -> None:
    points = search(limit, start)
    low, high = Search(start).bracket(points)
    assert low is not None
    assert high is not None
    assert low <= limit < high
    assert high / low <= 1.03
    assert len(points) < 20


def test_a_ramp_goes_up_by_a_quarter() -> None:
    rates = [point.rate_per_s for point in search(400, 150)]
    assert rates[:6] == pytest.approx([150 * 1.25**step for step in range(6)])
    assert rates[6] == pytest.approx(150 * 1.25**4.5)


def test_a_rate_may_fail_once_where_two_fails_are_needed() -> None:
    good, bad = judge(constant(200, 0.01), SLO_MS), judge(constant(200, 0.2), SLO_MS)
    twice = Search(200, fails_needed=2)
    assert twice.next_rate([bad]) == 200
    assert twice.next_rate([bad, good]) == 250
    assert twice.next_rate([bad, bad]) == pytest.approx(160)
    assert Search(200).next_rate([bad]) == pytest.approx(160)


def test_a_search_that_nothing_passes_ends() -> None:
    points = search(0.0, 400)
    assert len(points) <= MOST_TRIALS
    assert Search(400).bracket(points)[0] is None


def test_a_search_that_nothing_fails_ends() -> None:
    good = judge(constant(300, 0.01), SLO_MS)
    points = [replace_rate(good, 300 * 1.25**step) for step in range(MOST_TRIALS)]
    assert Search(300).next_rate(points) is None


def replace_rate(point: LoadPoint, rate_per_s: float) -> LoadPoint:
    fields = {name: getattr(point, name) for name in point.__struct_fields__}
    return LoadPoint(**{**fields, "rate_per_s": rate_per_s})


def test_each_rule_speaks_for_itself() -> None:
    fine = constant(200, 0.01)
    assert judge(fine, SLO_MS).is_passed
    lost = fine.latency_s.copy()
    lost[:2] = np.inf
    cases = {
        "n too small for a bound of p99": constant(50, 0.01),
        "p99's upper bound is above the SLO": replace(fine, latency_s=np.where(fine.due_s < 0.04, 0.09, 0.01)),
        "errors: status 503": replace(fine, latency_s=lost, failures={"status 503": 2}),
        "the load generator was late": replace(fine, late_s=np.full(len(fine.due_s), 0.02)),
    }
    for why, trial in cases.items():
        point = judge(trial, SLO_MS)
        assert why in point.why
        assert not point.is_passed
    backlog = replace(fine, latency_s=fine.due_s * 0.5)
    assert "not all were answered in time" in judge(backlog, SLO_MS).why


def test_the_knee_of_a_queue_is_where_its_power_is_greatest() -> None:
    """M/M/1: latency 1 / (μ - λ), power λ (μ - λ), greatest at half of μ."""
    points = []
    for rate in (20.0, 35.0, 50.0, 65.0, 80.0):
        due_s = np.array(list(poisson_arrivals(rate, 5, 400)))
        service_s = np.random.default_rng(1).exponential(0.01, len(due_s))
        points.append(judge(trial_of(due_s, queue_latencies(due_s, service_s), Load(400, rate)), SLO_MS))
    assert find_knee(points) == 50.0
    assert find_knee([]) is None
