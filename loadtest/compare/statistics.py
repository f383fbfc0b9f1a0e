"""Effects of pairs, intervals of quantiles, the length of a warm-up, and the verdict's rule. Pure: numpy alone.

It knows neither engines nor where its numbers come from.
"""

import enum
import math
from collections.abc import Sequence
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import NDArray

from loadtest.compare.distributions import binomial_ranks, student_quantile

Floats = NDArray[np.float64]
Places = tuple[NDArray[np.intp], ...]

CONFIDENCE = 0.95
RESAMPLES = 10_000
LEAST_PAIRS = 8
"""With fewer, intervals hold the truth less often than they say; docs/decisions/012-compare.md has the coverage."""
LEAST_OF_AN_ORDER = 3
"""Pairs of each order, of which a resample must be able to tell how far they lie apart."""

_BATCH = 5


class Effect(msgspec.Struct, frozen=True):
    """B over A: the geometric mean of the pairs' ratios, and its 95 % interval, None with fewer than LEAST_PAIRS.

    `percent` is how much more B is than A; `log_ratios` has one value a pair, and `spread` is their standard deviation
    about the mean of their order.
    """

    pairs: int
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    percent: float | None = None
    log_ratios: tuple[float, ...] = ()
    spread: float | None = None

    @property
    def excludes_one(self) -> bool:
        """Whether there is an interval, and 1 is not within it."""
        return self.low is not None and self.high is not None and not self.low <= 1 <= self.high

    def noise_floor(self, pairs: int) -> float | None:
        """Of an engine against itself: the log-ratio that so many pairs may find where there is nothing; None: unknown.

        It is a 95 % half-width, so it is held against an estimate alone and holds no sampling error of its own mean.
        Where that mean is not 1, something favours a place in the pairs, and as much of any effect may be its doing.
        """
        if self.ratio is None or self.low is None or self.spread is None:
            return None
        half = student_quantile((1 + CONFIDENCE) / 2, self.pairs - 1) * self.spread / math.sqrt(pairs)
        return half + (abs(math.log(self.ratio)) if self.excludes_one else 0.0)


def find_effect(a: Sequence[float], b: Sequence[float], seed: int = 0, orders: Sequence[str] = ()) -> Effect:
    """The effect of pairs (a[i], b[i]); those with a value that is not positive and finite do not count.

    With `orders`, one a pair, it is the mean of the orders' means: so what the first or the second place does cancels
    out, even where rejected slots left more pairs of one order than of the other.
    """
    known = [
        (math.log(y / x), order)
        for x, y, order in zip(a, b, orders or [""] * len(a), strict=True)
        if 0 < x < math.inf and 0 < y < math.inf
    ]
    if not known:
        return Effect(0)
    logs, places = np.array([log for log, _ in known]), group_places([order for _, order in known])
    means = [float(logs[group].mean()) for group in places]
    ratio, ratios = math.exp(sum(means) / len(means)), tuple(logs.tolist())
    is_lopsided = bool(orders) and (len(places) < 2 or min(map(len, places)) < LEAST_OF_AN_ORDER)
    if len(known) < LEAST_PAIRS or is_lopsided:
        return Effect(len(known), ratio, percent=100 * (ratio - 1), log_ratios=ratios)
    low, high = np.exp(bootstrap_interval(logs, seed, places=places))
    apart = sum(float(((logs[group] - mean) ** 2).sum()) for group, mean in zip(places, means, strict=True))
    spread = math.sqrt(apart / (len(known) - len(places)))
    return Effect(len(known), ratio, float(low), float(high), 100 * (ratio - 1), ratios, spread)


def group_places(orders: Sequence[str]) -> Places:
    """Where each of the orders stands."""
    return tuple(np.flatnonzero(np.array(orders) == order) for order in sorted(set(orders)))


def bootstrap_interval(values: Floats, seed: int = 0, resamples: int = RESAMPLES, places: Places = ()) -> Floats:
    """The interval of the mean, by drawing whole pairs with replacement: `values` [..., N] gives [2, ...].

    The percentile interval is too narrow for few pairs, since a resample varies less than a sample by (N - 1) / N and
    knows no Student's t. So resamples are stretched by the first, and percentiles taken farther out for the second, as
    for a normal mean they would have to be: the expanded percentile interval (Hesterberg, What Teachers Should Know
    About the Bootstrap, 2015, section 5.3). Leading dimensions are experiments of their own, which share their
    resamples. With `places`, pairs are drawn within each of these groups, and the interval is that of the mean of the
    groups' means.
    """
    count = values.shape[-1]
    places = places or (np.arange(count),)
    generator = np.random.default_rng(seed)
    weights = np.zeros((resamples, count))
    for group in places:
        size = len(group)
        drawn = generator.integers(size, size=(resamples, size)) + np.arange(resamples)[:, None] * size
        times = np.bincount(drawn.ravel(), minlength=resamples * size).reshape(resamples, size)
        weights[:, group] = (1 + (times - 1) * math.sqrt(size / (size - 1))) / (size * len(places))
    means = values @ weights.T
    tail = expanded_tail(count - len(places))
    interval: Floats = np.quantile(means, (tail, 1 - tail), axis=-1)
    return interval


def expanded_tail(freedom: int) -> float:
    """The share of resampled means left out on each side for a 95 % interval; `freedom`: pairs less their groups."""
    return NormalDist().cdf(-student_quantile((1 + CONFIDENCE) / 2, freedom))


class Quantile(msgspec.Struct, frozen=True):
    """A quantile in the unit of its values, and its 95 % interval; None where there are too few values for one.

    `one_in` is 1 / (1 - level): so many values for one beyond it.
    """

    level: float
    one_in: float
    count: int
    value: float | None = None
    low: float | None = None
    high: float | None = None


def find_quantile(ordered: Floats, level: float, confidence: float = CONFIDENCE) -> Quantile:
    """From values in ascending order. The interval is made of order statistics and supposes independent values."""
    count = len(ordered)
    one_in = 1 / (1 - level)
    tail = (1 - confidence) / 2
    low, high = binomial_ranks(count, level, tail, tail)
    value = float(np.quantile(ordered, level)) if count else None
    if low < 1 or high > count:
        return Quantile(level, one_in, count, value)
    return Quantile(level, one_in, count, value, float(ordered[low - 1]), float(ordered[high - 1]))


def upper_bound(ordered: Floats, level: float, confidence: float = CONFIDENCE) -> float | None:
    """A value that the quantile is below with that confidence, from values in ascending order; None: too few."""
    _, high = binomial_ranks(len(ordered), level, 0.5, 1 - confidence)
    return float(ordered[high - 1]) if high <= len(ordered) else None


def warm_up_end(times: Floats, values: Floats) -> float:
    """The time at which a warm-up ends, for values [N] in the order of their times [N]; at most half of them go.

    MSER-5 (White, 1997; Franklin & White, 2008): of all truncations, the one that leaves the smallest standard error of
    the mean, over batches of five.
    """
    count = len(values) // _BATCH
    if count < 4:
        return 0.0
    batches = values[: count * _BATCH].reshape(count, _BATCH).mean(axis=1)
    left = np.arange(count, 0, -1)
    sums = np.cumsum(batches[::-1])[::-1]
    squares = np.cumsum(batches[::-1] ** 2)[::-1]
    errors = (squares - sums**2 / left) / left**2
    cut = int(np.argmin(errors[: count // 2 + 1]))
    return float(times[cut * _BATCH]) if cut else 0.0


class Outcome(enum.StrEnum):
    """What a comparison may come to."""

    A_LESS = "a less"
    B_LESS = "b less"
    WITHIN_NOISE = "within noise"
    NOT_DETECTABLE = "not detectable"
    TOO_FEW = "too few pairs"
    NOISE_UNKNOWN = "noise floor unknown"
    DISTURBED = "disturbed"


def decide(effect: Effect, noise: Effect) -> Outcome:
    """Which side has less of what was measured. `noise` is the effect of an engine on itself.

    A difference counts when its interval leaves out 1 and it is larger than what as many pairs may find where there is
    nothing. Where that is unknown, no difference counts.
    """
    if effect.ratio is None or effect.low is None:
        return Outcome.TOO_FEW
    if not effect.excludes_one:
        return Outcome.NOT_DETECTABLE
    floor = noise.noise_floor(effect.pairs)
    if floor is None:
        return Outcome.NOISE_UNKNOWN
    if abs(math.log(effect.ratio)) <= floor:
        return Outcome.WITHIN_NOISE
    return Outcome.B_LESS if effect.ratio < 1 else Outcome.A_LESS
