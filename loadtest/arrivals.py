"""When requests arrive, for open-loop load: pure, no clock, so that every run of a seed asks at the same moments."""

import math
from collections.abc import Callable, Iterator

import numpy as np

_AT_ONCE = 1024  # gaps drawn in one call; a single draw costs as much as hundreds together


def poisson_arrivals(rate_per_s: float, seed: int, duration_s: float = math.inf) -> Iterator[float]:
    """Arrival times of a Poisson process: offsets in seconds from the start, ascending, all below `duration_s`.

    Gaps are independent and exponential with mean 1 / `rate_per_s`: clients that know nothing of each other. The same
    seed gives the same times, and a longer duration continues those of a shorter one. Raises ValueError.
    """
    if not (rate_per_s > 0 and math.isfinite(rate_per_s)):
        raise ValueError(f"rate {rate_per_s} is not a positive number of requests per second")
    if math.isnan(duration_s) or duration_s < 0:
        raise ValueError(f"duration {duration_s} is not a number of seconds")
    return _draw(rate_per_s, np.random.default_rng(seed), duration_s)


def _draw(rate_per_s: float, generator: np.random.Generator, duration_s: float) -> Iterator[float]:
    last_s = 0.0
    while True:
        times_s = last_s + np.cumsum(generator.exponential(1 / rate_per_s, _AT_ONCE))
        for time_s in times_s.tolist():
            if time_s >= duration_s:
                return
            yield time_s
        last_s = float(times_s[-1])


def varying_arrivals(
    rate_at: Callable[[float], float], most_per_s: float, seed: int, duration_s: float = math.inf
) -> Iterator[float]:
    """Arrival times of a Poisson process whose rate changes: `rate_at(offset_s)` requests a second, at most
    `most_per_s`.

    Arrivals of the highest rate are drawn and each is kept with probability rate / highest (thinning; Lewis & Shedler
    1979). Raises ValueError.
    """
    chance = np.random.default_rng((seed, 1))
    for offset_s in poisson_arrivals(most_per_s, seed, duration_s):
        if chance.random() * most_per_s < rate_at(offset_s):
            yield offset_s
