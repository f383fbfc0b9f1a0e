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
    group_places,
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
    assert expanded_tail(9) == pytest.approx(special.ndtr(-special.stdtrit(9, 0.975)))


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


def test_an_effect_is_the_mean_of_the_orders_means() -> None:
    """The place in a pair does 20 %, and slots that were rejected left more pairs of one order than of the other."""
    jitter = np.random.default_rng(3).normal(0, 0.01, 16)
    orders = ["ab"] * 12 + ["ba"] * 4
    b = np.exp(jitter + np.where(np.array(orders) == "ab", 0.2, -0.2) + math.log(1.1))
    found = find_effect([1.0] * 16, b.tolist(), orders=orders)
    assert found.ratio == pytest.approx(1.1, abs=0.01)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 1.1 < found.high < 1.13
    within = 11 * float(jitter[:12].var(ddof=1)) + 3 * float(jitter[12:].var(ddof=1))
    assert found.spread == pytest.approx(math.sqrt(within / 14)), "what the place does is no spread"


@pytest.mark.parametrize("orders", [["ab"] * 10, ["ab"] * 8 + ["ba"] * 2])
def test_too_few_pairs_of_one_order_have_no_interval(orders: list[str]) -> None:
    b = np.exp(np.random.default_rng(1).normal(0, 0.1, 10)).tolist()
    assert find_effect([1.0] * 10, b).low is not None
    assert find_effect([1.0] * 10, b, orders=orders).low is None


@pytest.mark.parametrize("counts", [(4, 4), (5, 5), (3, 5), (15, 15), (10, 14)])
def test_intervals_within_orders_cover_as_they_say(counts: tuple[int, int]) -> None:
    orders = np.repeat(["ab", "ba"], counts)
    values = np.random.default_rng(7).normal(0, 0.05, (EXPERIMENTS, len(orders))) + np.where(orders == "ab", 0.3, -0.1)
    low, high = bootstrap_interval(values, seed=1, resamples=5000, places=group_places(orders.tolist()))
    share = float(((low <= 0.1) & (high >= 0.1)).mean())
    print(f"{counts}: {100 * share:.1f} %")
    assert 0.91 <= share <= 0.97


def verdicts(truth: float, deviation: float, seed: int, runs: int = 1000) -> list[Outcome]:
    """Of runs with 30 pairs and 16 of an engine with itself, as in a full comparison; log-ratios are normal."""
    generator = np.random.default_rng(seed)
    told = []
    for pairs, mean in ((30, truth), (16, 0.0)):
        logs = generator.normal(mean, deviation, (runs, pairs))
        orders = ["ab", "ba"] * (pairs // 2)
        ends = bootstrap_interval(logs, seed=seed, resamples=2000, places=group_places(orders))
        halves = logs.reshape(runs, pairs // 2, 2)
        spread = np.sqrt(((halves - halves.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2)) / (pairs - 2))
        columns = (np.exp(logs.mean(axis=1)), *np.exp(ends), spread)
        told.append([Effect(pairs, ratio, low, high, spread=s) for ratio, low, high, s in zip(*columns, strict=True)])
    return [decide(effect, noise) for effect, noise in zip(*told, strict=True)]


def test_an_effect_of_a_tenth_is_named_and_none_is_where_there_is_nothing() -> None:
    found = verdicts(math.log(1.1), 0.13, seed=1)
    named = found.count(Outcome.A_LESS) / len(found)
    quiet = verdicts(0.0, 0.13, seed=2)
    wrong = (quiet.count(Outcome.A_LESS) + quiet.count(Outcome.B_LESS)) / len(quiet)
    within = found.count(Outcome.WITHIN_NOISE) / len(found)
    print(f"named {100 * named:.1f} %, within noise {100 * within:.1f} %; of nothing {100 * wrong:.1f} %")
    assert named > 0.9
    assert found.count(Outcome.B_LESS) == 0
    assert wrong < 0.06


def test_the_noise_floor_is_what_as_many_pairs_would_find_and_the_mean_where_it_is_not_nothing() -> None:
    half = special.stdtrit(15, 0.975) * 0.13 / math.sqrt(30)
    assert Effect(16, 1.02, 0.96, 1.08, spread=0.13).noise_floor(30) == pytest.approx(half)
    assert Effect(16, 0.9, 0.85, 0.95, spread=0.13).noise_floor(30) == pytest.approx(half - math.log(0.9))
    assert Effect(7, 1.02).noise_floor(30) is None


def effect(ratio: float, spread: float) -> Effect:
    return Effect(10, ratio, ratio / spread, ratio * spread, spread=math.log(spread) * math.sqrt(10) / 2.26)


@pytest.mark.parametrize(
    ("found", "noise", "outcome"),
    [
        (effect(1.10, 1.03), effect(1.0, 1.02), Outcome.A_LESS),
        (effect(0.90, 1.03), effect(1.0, 1.02), Outcome.B_LESS),
        (effect(1.02, 1.03), effect(1.0, 1.02), Outcome.NOT_DETECTABLE),
        (effect(1.04, 1.01), effect(1.0, 1.05), Outcome.WITHIN_NOISE),
        (Effect(4, 2.0), effect(1.0, 1.02), Outcome.TOO_FEW),
        (effect(1.10, 1.03), effect(1.08, 1.04), Outcome.WITHIN_NOISE),  # the machine does as much by itself
        (effect(1.10, 1.03), Effect(7, 1.0), Outcome.NOISE_UNKNOWN),
        (effect(1.02, 1.03), Effect(7, 1.0), Outcome.NOT_DETECTABLE),
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
