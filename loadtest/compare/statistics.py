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

CONFIDENCE = 0.95
RESAMPLES = 10_000
LEAST_PAIRS = 8
"""With fewer, intervals hold the truth less often than they say; docs/decisions/012-compare.md has the coverage."""

_BATCH = 5


class Effect(msgspec.Struct, frozen=True):
    """B over A: the geometric mean of the pairs' ratios, and its 95 % interval, None with fewer than LEAST_PAIRS.

    `percent` is how much more B is than A; `log_ratios` has one value a pair.
    """

    pairs: int
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    percent: float | None = None
    log_ratios: tuple[float, ...] = ()

    @property
    def excludes_one(self) -> bool:
        """Whether there is an interval, and 1 is not within it."""
        return self.low is not None and self.high is not None and not self.low <= 1 <= self.high

    @property
    def farthest(self) -> float | None:
        """The larger distance of the interval's ends from 1, as a log-ratio; None where there is no interval."""
        if self.low is None or self.high is None:
            return None
        return max(abs(math.log(self.low)), abs(math.log(self.high)))


def find_effect(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Effect:
    """The effect of pairs (a[i], b[i]); those with a value that is not positive and finite do not count."""
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if 0 < x < math.inf and 0 < y < math.inf]
    if not pairs:
        return Effect(0)
    logs = np.array([math.log(y / x) for x, y in pairs])
    ratio = math.exp(float(logs.mean()))
    known = tuple(logs.tolist())
    if len(pairs) < LEAST_PAIRS:
        return Effect(len(pairs), ratio, percent=100 * (ratio - 1), log_ratios=known)
    low, high = np.exp(bootstrap_interval(logs, seed))
    return Effect(len(pairs), ratio, float(low), float(high), 100 * (ratio - 1), known)


def bootstrap_interval(values: Floats, seed: int = 0, resamples: int = RESAMPLES) -> Floats:
    """The interval of the mean, by drawing whole pairs with replacement: `values` [..., N] gives [2, ...].

    The percentile interval is too narrow for few pairs, since a resample varies less than a sample by (N - 1) / N and
    knows no Student's t. So its percentiles are taken farther out, as for a normal mean they would have to be: the
    expanded percentile interval (Hesterberg, What Teachers Should Know About the Bootstrap, 2015, section 5.3). Leading
    dimensions are experiments of their own, which share their resamples.
    """
    count = values.shape[-1]
    drawn = np.random.default_rng(seed).integers(count, size=(resamples, count)) + np.arange(resamples)[:, None] * count
    weights = np.bincount(drawn.ravel(), minlength=resamples * count).reshape(resamples, count) / count
    means = values @ weights.T
    tail = expanded_tail(count)
    interval: Floats = np.quantile(means, (tail, 1 - tail), axis=-1)
    return interval


def expanded_tail(count: int) -> float:
    """The share of resampled means of `count` pairs left out on each side for a 95 % interval."""
    level = (1 + CONFIDENCE) / 2
    return NormalDist().cdf(-math.sqrt(count / (count - 1)) * student_quantile(level, count - 1))


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


def decide(effect: Effect, noise: Effect) -> Outcome:
    """Which side has less of what was measured. `noise` is the effect of an engine on itself.

    A difference counts when its interval leaves out 1 and it is larger than what the noise run did not rule out.
    """
    if effect.ratio is None or effect.low is None:
        return Outcome.TOO_FEW
    if not effect.excludes_one:
        return Outcome.NOT_DETECTABLE
    if noise.farthest is not None and abs(math.log(effect.ratio)) <= noise.farthest:
        return Outcome.WITHIN_NOISE
    return Outcome.B_LESS if effect.ratio < 1 else Outcome.A_LESS
