"""Arrivals: Poisson in count and gaps, and the same for the same seed."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.arrivals import poisson_arrivals

rates = st.floats(0.5, 2000)
seeds = st.integers(0, 2**32)


@given(rates, seeds, st.floats(0, 3))
def test_arrivals_ascend_within_the_duration(rate_per_s: float, seed: int, duration_s: float) -> None:
    times = list(poisson_arrivals(rate_per_s, seed, duration_s))
    assert times == sorted(set(times))
    assert all(0 < time < duration_s for time in times)


@given(rates, seeds, st.floats(0, 1), st.floats(0, 1))
def test_a_seed_gives_the_same_times_and_a_longer_run_continues_them(
    rate_per_s: float, seed: int, duration_s: float, more_s: float
) -> None:
    short = list(poisson_arrivals(rate_per_s, seed, duration_s))
    long = list(poisson_arrivals(rate_per_s, seed, duration_s + more_s))
    assert long[: len(short)] == short
    assert all(time >= duration_s for time in long[len(short) :])


@given(st.lists(seeds, min_size=2, max_size=4, unique=True))
def test_seeds_differ(given_seeds: list[int]) -> None:
    firsts = {next(poisson_arrivals(100, seed)) for seed in given_seeds}
    assert len(firsts) == len(given_seeds)


@pytest.mark.parametrize("rate_per_s", [0.7, 40, 1500])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gaps_are_exponential(rate_per_s: float, seed: int) -> None:
    """Kolmogorov-Smirnov against the exponential distribution, at the 0.1 % level: 1.95 / sqrt(n)."""
    count = 20_000
    gaps = np.sort(np.diff([0.0, *itertools.islice(poisson_arrivals(rate_per_s, seed), count)]))
    expected = 1 - np.exp(-gaps * rate_per_s)
    steps = np.arange(count + 1) / count
    distance = max(np.abs(steps[1:] - expected).max(), np.abs(expected - steps[:-1]).max())
    assert distance < 1.95 / math.sqrt(count)


def test_gaps_are_independent_of_each_other() -> None:
    gaps = np.diff(list(itertools.islice(poisson_arrivals(100, seed=5), 20_000)))
    for lag in (1, 2, 1024):  # 1024: that many are drawn at once
        assert abs(np.corrcoef(gaps[:-lag], gaps[lag:])[0, 1]) < 4 / math.sqrt(len(gaps))


def test_counts_have_the_mean_and_the_variance_of_a_poisson_process() -> None:
    counts = np.array([sum(1 for _ in poisson_arrivals(50, seed, 1.0)) for seed in range(2000)])
    assert counts.mean() == pytest.approx(50, abs=4 * math.sqrt(50 / 2000))
    assert counts.var() / 50 == pytest.approx(1, abs=4 * math.sqrt(2 / 2000))


def test_without_a_duration_they_never_end() -> None:
    assert sum(1 for _ in itertools.islice(poisson_arrivals(10, 0), 5000)) == 5000


@pytest.mark.parametrize(
    ("rate_per_s", "duration_s"), [(0, 1), (-1, 1), (math.inf, 1), (math.nan, 1), (1, -1), (1, math.nan)]
)
def test_nonsense_is_refused_at_once(rate_per_s: float, duration_s: float) -> None:
    with pytest.raises(ValueError, match="is not a"):
        poisson_arrivals(rate_per_s, 0, duration_s)
