"""The four scenarios, and the terms that each is run on. Pure.

LoadGen makes its queries before it begins, so it must be told beforehand how fast the gateway may be: told too little,
it runs out of queries before the time is up, and calls the run invalid.
"""

import enum
from dataclasses import dataclass

import msgspec

QUICK_S, FULL_S = 10.0, 60.0
SHARE_OF_CAPACITY = 0.3
SERVER_QUANTILE = 0.99
STREAM_QUANTILE = {"SingleStream": 0.9, "MultiStream": 0.99}
SAMPLES_PER_QUERY = 8

_FASTER = 3.0  # a query may be so much faster than the fastest that was seen before
_MORE = 2.0  # and the whole gateway so much: with all that it can get at once it did 1.96 times as much


class Scenario(enum.StrEnum):
    """As MLPerf's inference rules name them."""

    SINGLE_STREAM = "SingleStream"  # one query of one sample at a time, the next when it is answered
    MULTI_STREAM = "MultiStream"  # one query of eight samples at a time, the next when all are answered
    SERVER = "Server"  # queries of one sample, Poisson arrivals
    OFFLINE = "Offline"  # all samples in one query


@dataclass(frozen=True)
class Capacity:
    """What the gateway did before LoadGen asked: the fastest of one request at a time, and the rate of many."""

    fastest_s: float
    rate_per_s: float


@dataclass(frozen=True)
class Wish:
    """What a user may set; `rate_per_s` None: three tenths of the capacity."""

    duration_s: float
    slo_ms: float
    seed: int = 0
    rate_per_s: float | None = None


class Terms(msgspec.Struct, frozen=True):
    """What LoadGen is told. `expected_s` and `expected_per_s` only say how many queries it makes ready.

    `quantile` is the one that the scenario's result is, or is bound by: of Server's latencies, by `bound_s`.
    """

    scenario: str
    duration_s: float
    seed: int
    samples_per_query: int = 1
    expected_s: float | None = None
    expected_per_s: float | None = None
    rate_per_s: float | None = None
    quantile: float | None = None
    bound_s: float | None = None


def choose_terms(scenario: Scenario, wish: Wish, capacity: Capacity) -> Terms:
    """The terms of one run."""
    if scenario is Scenario.SERVER:
        rate = wish.rate_per_s or float(f"{max(1.0, SHARE_OF_CAPACITY * capacity.rate_per_s):.2g}")
        return Terms(
            scenario,
            wish.duration_s,
            wish.seed,
            rate_per_s=rate,
            quantile=SERVER_QUANTILE,
            bound_s=wish.slo_ms / 1000,
        )
    if scenario is Scenario.OFFLINE:
        return Terms(scenario, wish.duration_s, wish.seed, expected_per_s=_MORE * capacity.rate_per_s)
    return Terms(
        scenario,
        wish.duration_s,
        wish.seed,
        samples_per_query=SAMPLES_PER_QUERY if scenario is Scenario.MULTI_STREAM else 1,
        expected_s=capacity.fastest_s / _FASTER,
        quantile=STREAM_QUANTILE[scenario],
    )
