"""Known answers, and coverage by simulation: how often intervals hold the truth."""

import math

import numpy as np
import pytest
from scipy import special

from loadtest.compare.statistics import (
    LEAST_PAIRS,
    Effect,
    Floats,
    Outcome,
    bootstrap_interval,
    decide,
    expanded_tail,
    find_effect,
    find_quantile,
    upper_bound,
    warm_up_end,
)

EXPERIMENTS = 1000


def covered(values: Floats, truth: float) -> float:
    """The share of experiments [E, N] whose interval holds the truth."""
    low, high = bootstrap_interval(values, seed=1, resamples=2000)
    share = float(((low <= truth) & (truth <= high)).mean())
    print(f"{values.shape[-1]} pairs: {100 * share:.1f} % of {len(values)} intervals hold the truth")
    return share


@pytest.mark.parametrize("pairs", [LEAST_PAIRS, 10, 30])
def test_intervals_of_pairs_cover_as_they_say(pairs: int) -> None:
    values = np.random.default_rng(pairs).normal(0.1, 0.05, (EXPERIMENTS, pairs))
    assert 0.92 <= covered(values, 0.1) <= 0.97


@pytest.mark.parametrize("pairs", [8, 10, 30])
def test_intervals_of_pairs_cover_with_heavy_tails_too(pairs: int) -> None:
    """Student's t with 3 degrees of freedom: now and then one pair is far off, as on a shared machine."""
    values = np.random.default_rng(pairs).standard_t(3, (EXPERIMENTS, pairs))
    assert covered(values, 0.0) >= 0.91


def test_the_plain_percentile_interval_would_not() -> None:
    """Why percentiles are taken farther out: with ten pairs those of 2.5 % leave out the truth once in ten."""
    values = np.random.default_rng(5).normal(0, 1, (EXPERIMENTS, 10))
    weights = np.random.default_rng(1).multinomial(10, np.full(10, 0.1), size=2000) / 10
    low, high = np.quantile(values @ weights.T, (0.025, 0.975), axis=-1)
    assert float(((low <= 0) & (high >= 0)).mean()) < 0.92


def test_the_interval_of_many_pairs_is_students() -> None:
    values = np.random.default_rng(2).normal(0, 1, 400)
    half = special.stdtrit(399, 0.975) * values.std(ddof=1) / math.sqrt(400)
    low, high = bootstrap_interval(values)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_the_tail_is_normals_at_the_end_and_farther_out_before() -> None:
    assert expanded_tail(2001) == pytest.approx(0.025, rel=0.01)
    assert expanded_tail(10) == pytest.approx(special.ndtr(-math.sqrt(10 / 9) * special.stdtrit(9, 0.975)))


@pytest.mark.parametrize(("level", "count"), [(0.5, 100), (0.99, 1000), (0.999, 8000)])
def test_intervals_of_quantiles_cover_at_least_as_they_say(level: float, count: int) -> None:
    values = np.sort(np.random.default_rng(count).exponential(1, (400, count)), axis=1)
    truth = -math.log(1 - level)
    found = [find_quantile(row, level) for row in values]
    share = np.mean([q.low is not None and q.high is not None and q.low <= truth <= q.high for q in found])
    print(f"level {level}, {count} values: {100 * share:.1f} %")
    assert share >= 0.93


def test_an_upper_bound_is_exceeded_once_in_twenty_at_most() -> None:
    values = np.sort(np.random.default_rng(7).exponential(1, (600, 500)), axis=1)
    bounds = [upper_bound(row, 0.99) for row in values]
    assert np.mean([bound is not None and bound < -math.log(0.01) for bound in bounds]) <= 0.07


def test_too_few_values_have_a_quantile_and_no_interval() -> None:
    values = np.arange(1.0, 101.0)
    assert find_quantile(values, 0.99).value == pytest.approx(99.01)
    assert find_quantile(values, 0.99).high is None
    assert upper_bound(values, 0.99) is None
    assert find_quantile(np.empty(0), 0.5).value is None


def test_an_effect_is_the_geometric_mean_of_ratios() -> None:
    effect = find_effect([1, 2, 4, 3] * 2, [2, 4, 8, 6, 0.5, 1, 2, 1.5])
    assert effect.ratio == pytest.approx(1)
    assert effect.percent == pytest.approx(0)
    assert effect.low is not None
    assert effect.low < 1
    assert effect.pairs == 8
    assert not effect.excludes_one


def test_pairs_without_a_positive_value_do_not_count() -> None:
    effect = find_effect([1, math.nan, 0, 1], [2, 1, 1, math.inf])
    assert effect.pairs == 1
    assert effect.ratio == pytest.approx(2)
    assert effect.low is None
    assert find_effect([], []).ratio is None


def test_the_same_seed_gives_the_same_interval() -> None:
    a, b = [1.0] * 8, [1.0, 1.1, 0.9, 1.2, 1.05, 1.3, 0.8, 1.0]
    assert find_effect(a, b, seed=3) == find_effect(a, b, seed=3)
    assert find_effect(a, b, seed=3) != find_effect(a, b, seed=4)


def effect(ratio: float, spread: float) -> Effect:
    return Effect(10, ratio, ratio / spread, ratio * spread)


@pytest.mark.parametrize(
    ("found", "noise", "outcome"),
    [
        (effect(1.10, 1.03), effect(1.0, 1.02), Outcome.A_LESS),
        (effect(0.90, 1.03), effect(1.0, 1.02), Outcome.B_LESS),
        (effect(1.02, 1.03), effect(1.0, 1.02), Outcome.NOT_DETECTABLE),
        (effect(1.04, 1.01), effect(1.0, 1.05), Outcome.WITHIN_NOISE),
        (Effect(4, 2.0), effect(1.0, 1.02), Outcome.TOO_FEW),
        (effect(1.10, 1.03), Effect(2, 1.0), Outcome.A_LESS),  # an unknown noise floor is told apart from this
    ],
)
def test_the_verdict_is_a_rule(found: Effect, noise: Effect, outcome: Outcome) -> None:
    assert decide(found, noise) is outcome


def test_a_warm_up_is_cut_where_it_ends() -> None:
    times = np.linspace(0, 10, 1000, endpoint=False)
    values = np.random.default_rng(1).gamma(16, 1 / 16, 1000) + np.where(times < 1.5, 5.0, 0.0)
    assert warm_up_end(times, values) == pytest.approx(1.5, abs=0.1)


def test_without_a_warm_up_little_is_cut() -> None:
    times = np.linspace(0, 10, 1000, endpoint=False)
    values = np.random.default_rng(1).gamma(16, 1 / 16, 1000)
    assert warm_up_end(times, values) < 2.5
    assert warm_up_end(times[:8], values[:8]) == 0
