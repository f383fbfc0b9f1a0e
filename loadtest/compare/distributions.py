"""What little of probability the statistics need, so that scipy is needed by their tests alone. Pure."""

import math

import numpy as np

_ROUNDS = 80  # of a bisection: far below the last digit of a float
_REACH = 12.0  # standard deviations from a binomial's mean beyond which nothing counts


def student_quantile(level: float, freedom: int) -> float:
    """The quantile of Student's t for 0.5 <= `level` < 1 and `freedom` >= 1 degrees of freedom. Raises ValueError.

    By bisection of the finite sums in Abramowitz & Stegun, 26.7.3 and 26.7.4, over the angle atan(t / sqrt(freedom)).
    """
    if not 0.5 <= level < 1 or freedom < 1:
        raise ValueError(f"no quantile of Student's t for level {level} and {freedom} degrees of freedom")
    low, high = 0.0, math.pi / 2
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if _central_share(middle, freedom) < 2 * level - 1 else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _central_share(angle: float, freedom: int) -> float:
    """The probability that |t| is below sqrt(freedom) * tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = freedom % 2 == 1
    if freedom == 1:
        return 2 * angle / math.pi
    term = cosine if is_odd else 1.0
    whole = term
    for step in range(3 if is_odd else 2, freedom, 2):
        term *= (step - 1) / step * cosine**2
        whole += term
    return (2 / math.pi) * (angle + sine * whole) if is_odd else sine * whole


def binomial_ranks(count: int, level: float, below: float, above: float) -> tuple[int, int]:
    """Ranks (low, high), counted from 1, of two order statistics of `count` independent values around a quantile.

    The quantile of `level` lies below the first with a probability of at most `below`, above the second with at most
    `above`. A rank of 0 or of `count` + 1 says that no value is far enough out. Source: David & Nagaraja, Order
    Statistics, section 7.1.
    """
    if count < 1:
        return 0, 1
    deviation = math.sqrt(count * level * (1 - level))
    first = max(0, math.floor(count * level - _REACH * deviation - _REACH))
    last = min(count, math.ceil(count * level + _REACH * deviation + _REACH))
    successes = np.arange(first, last + 1)
    start = (
        math.lgamma(count + 1)
        - math.lgamma(first + 1)
        - math.lgamma(count - first + 1)
        + first * math.log(level)
        + (count - first) * math.log1p(-level)
    )
    steps = np.log((count - successes[:-1]) / (successes[:-1] + 1)) + math.log(level) - math.log1p(-level)
    cumulative = np.cumsum(np.exp(start + np.concatenate(([0.0], np.cumsum(steps)))))
    # P(low rank's value is above the quantile) = P(fewer than `low` values below it).
    low = first + int(np.searchsorted(cumulative, below, side="right"))
    high = first + int(np.searchsorted(cumulative, 1 - above, side="left")) + 1
    return low, min(high, count + 1)
