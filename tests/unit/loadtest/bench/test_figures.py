"""What a run measured, and what pairs of runs say."""

import numpy as np
import pytest

from loadtest.bench.figures import (
    Figures,
    Latency,
    Spread,
    cpu_ratio,
    p50_difference_ms,
    p99_ratio,
    tail,
    throughput_ratio,
)


def figures(requests: int, seconds: float = 1.0, rows: int = 1, p50_ms: float = 1.0, p99_ms: float = 2.0) -> Figures:
    return Figures("some", "wrk", requests, rows, seconds, Latency(p50_ms, p50_ms, p99_ms, p99_ms))


def test_quantiles_are_in_milliseconds_and_ascend() -> None:
    latency = Latency.of(np.linspace(0, 1, 1001))
    assert (latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p999_ms) == pytest.approx((500, 900, 990, 999))


def test_no_answers_have_no_latency() -> None:
    assert Latency.of([]) == Latency()


def test_throughput_counts_images_so_that_requests_of_many_compare_with_single_ones() -> None:
    a, b = figures(100, seconds=2, rows=32), figures(400, seconds=1)
    assert a.requests_per_s == 50
    assert throughput_ratio(a, b) == pytest.approx(50 * 32 / 400)


def test_cpu_is_told_per_thousand_answered_requests_and_by_process() -> None:
    run = Figures("some", "wrk", 500, 1, 1.0, cpu_s={"gateway": 0.25, "torchserve": 1.0}, generator_cpu_s=0.1)
    assert run.cpu_s_per_1000 == {"gateway": 0.5, "torchserve": 2.0}
    assert run.generator_cpu_s_per_1000 == pytest.approx(0.2)


def test_a_run_without_answers_says_nothing_of_cost() -> None:
    run = Figures("some", "wrk", 0, 1, 1.0, cpu_s={"gateway": 0.25})
    assert run.cpu_s_per_1000 == {}
    assert run.generator_cpu_s_per_1000 == 0


@pytest.mark.parametrize("measure", [throughput_ratio, p99_ratio, p50_difference_ms, tail])
def test_no_ratio_to_a_run_that_answered_nothing(measure) -> None:  # type: ignore[no-untyped-def]
    dead = Figures("some", "wrk", 0, 1, 1.0)
    assert measure(figures(100), dead) is None


def test_measures_of_a_pair() -> None:
    a, b = figures(100, p50_ms=3, p99_ms=9), figures(100, p50_ms=2.5, p99_ms=6)
    assert p99_ratio(a, b) == 1.5
    assert p50_difference_ms(a, b) == 0.5
    assert tail(a, b) == 3


def test_a_spread_is_the_middle_value_and_the_range_of_what_is_known() -> None:
    spread = Spread.of([3.0, None, 1.0, 2.0, 10.0])
    assert (spread.least, spread.middle, spread.most) == (1.0, 2.5, 10.0)
    assert spread.values == (3.0, 1.0, 2.0, 10.0)


def test_a_spread_of_nothing_is_nothing() -> None:
    assert Spread.of([None]) == Spread()


def test_cpu_is_compared_by_image() -> None:
    a = Figures("some", "wrk", 10, 32, 1.0, cpu_s={"gateway": 0.2, "torchserve": 0.12})
    b = Figures("other", "wrk", 100, 1, 1.0, cpu_s={"server": 0.2})
    assert cpu_ratio(a, b) == pytest.approx(0.5)
    assert cpu_ratio(a, Figures("dead", "wrk", 0, 1, 1.0)) is None
