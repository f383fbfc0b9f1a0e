"""Latencies during something and apart from it, and how sure their ratio is. Pure."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]

RESAMPLES = 1000
_LEVELS = (0.5, 0.99)
_INTERVAL = (0.025, 0.975)


class Quantiles(msgspec.Struct, frozen=True):
    """Latencies in milliseconds; all zero when there is none."""

    count: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0

    @classmethod
    def of(cls, latencies_s: Seconds) -> "Quantiles":
        if not len(latencies_s):
            return cls()
        p50, p99 = np.quantile(latencies_s, _LEVELS) * 1000
        return cls(len(latencies_s), float(p50), float(p99), float(latencies_s.max() * 1000))


class Ratio(msgspec.Struct, frozen=True):
    """A quantile inside over the same quantile outside, and its 95 % bootstrap interval; None when unknown."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class Block(msgspec.Struct, frozen=True):
    """One event: the latencies [N] in seconds of requests inside its window, and of those from there to the next."""

    inside_s: Seconds
    outside_s: Seconds


def compare_blocks(blocks: Sequence[Block], seed: int = 0, resamples: int = RESAMPLES) -> tuple[Ratio, Ratio]:
    """The ratios of p50 and of p99, inside over outside.

    The interval comes from drawing whole blocks with replacement: requests of one event are not independent of each
    other, events are (block bootstrap; Efron & Tibshirani, An Introduction to the Bootstrap, chapter 8).
    """
    value = _ratios(blocks)
    if value is None:
        return Ratio(), Ratio()
    generator = np.random.default_rng(seed)
    drawn = [
        _ratios([blocks[index] for index in generator.integers(len(blocks), size=len(blocks))])
        for _ in range(resamples if len(blocks) > 1 else 0)
    ]
    known = np.array([ratios for ratios in drawn if ratios is not None])
    if len(known) <= resamples / 2:  # too few events have requests on both sides
        return Ratio(float(value[0])), Ratio(float(value[1]))
    low, high = np.quantile(known, _INTERVAL, axis=0)
    p50, p99 = (Ratio(float(value[i]), float(low[i]), float(high[i])) for i in range(2))
    return p50, p99


def _ratios(blocks: Sequence[Block]) -> Seconds | None:
    inside_s = np.concatenate([block.inside_s for block in blocks]) if blocks else np.empty(0)
    outside_s = np.concatenate([block.outside_s for block in blocks]) if blocks else np.empty(0)
    if not len(inside_s) or not len(outside_s):
        return None
    ratios: Seconds = np.quantile(inside_s, _LEVELS) / np.quantile(outside_s, _LEVELS)
    return ratios
