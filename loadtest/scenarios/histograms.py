"""Latencies in buckets that are narrow where values are small: mergeable, and exact enough for every percentile. Pure.

The bucket scheme is HdrHistogram's (Tene, http://hdrhistogram.org): whole microseconds are kept as they are up to 2 ms,
and above that to three significant digits. Only buckets that hold something take memory.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_LINEAR_BITS = 11  # 2048 buckets of 1 µs; above, 1024 for each doubling: never wider than a thousandth of the value
_HALF = 1 << (_LINEAR_BITS - 1)
_US_PER_S = 1e6


@dataclass
class Histogram:
    """Durations in seconds; those below 0 count as 0."""

    counts: Counter[int] = field(default_factory=Counter)
    sum_s: float = 0.0
    min_s: float = math.inf
    max_s: float = 0.0

    def record(self, duration_s: float) -> None:
        """Add one duration."""
        duration_s = max(0.0, duration_s)
        self.counts[_bucket(round(duration_s * _US_PER_S))] += 1
        self.sum_s += duration_s
        self.min_s = min(self.min_s, duration_s)
        self.max_s = max(self.max_s, duration_s)

    def merge(self, other: "Histogram") -> None:
        """Add all that another one holds, as if it had been recorded here."""
        self.counts.update(other.counts)
        self.sum_s += other.sum_s
        self.min_s = min(self.min_s, other.min_s)
        self.max_s = max(self.max_s, other.max_s)

    @property
    def count(self) -> int:
        return self.counts.total()

    @property
    def mean_s(self) -> float:
        return self.sum_s / self.count if self.counts else 0.0

    def quantile(self, share: float) -> float:
        """The duration in seconds that this share of all (0..1) did not exceed; 0 when there is none.

        It is the upper end of its bucket: at most 0.1 % or half a microsecond too much, never more than the maximum.
        """
        wanted = max(1, math.ceil(share * self.count))
        for upper_s, below in self._ascending():
            if below >= wanted:
                return min(upper_s, self.max_s)
        return 0.0

    def _ascending(self) -> Iterator[tuple[float, int]]:
        """Upper ends of the buckets in seconds, and how many durations lie below each."""
        below = 0
        for bucket in sorted(self.counts):
            below += self.counts[bucket]
            yield _upper_end(bucket) / _US_PER_S, below

    def to_document(self) -> dict[str, Any]:
        """What JSON and msgpack can carry to another process."""
        return {
            "counts": {str(bucket): count for bucket, count in self.counts.items()},
            "sum_s": self.sum_s,
            "min_s": self.min_s if self.counts else 0.0,
            "max_s": self.max_s,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Histogram":
        """The reverse of `to_document`."""
        counts = Counter({int(bucket): int(count) for bucket, count in document["counts"].items()})
        return cls(counts, document["sum_s"], document["min_s"] if counts else math.inf, document["max_s"])

    def to_hgrm(self) -> str:
        """The percentile distribution as HdrHistogram's tools print and plot it; values in milliseconds."""
        total = self.count
        lines = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}", ""]
        for upper_s, below in self._ascending():
            share = below / total
            beyond = f"{1 / (1 - share):14.2f}" if below < total else ""
            lines.append(f"{min(upper_s, self.max_s) * 1000:12.3f} {share:14.12f} {below:10d} {beyond}".rstrip())
        mean_ms, max_ms = self.mean_s * 1000, self.max_s * 1000
        lines.append(f"#[Mean    = {mean_ms:12.3f}, StdDeviation   = {self._deviation_s() * 1000:12.3f}]")
        lines.append(f"#[Max     = {max_ms:12.3f}, Total count    = {total:12d}]")
        return "\n".join(lines) + "\n"

    def _deviation_s(self) -> float:
        if not self.counts:
            return 0.0
        squares = sum(
            count * (_upper_end(bucket) / _US_PER_S - self.mean_s) ** 2 for bucket, count in self.counts.items()
        )
        return math.sqrt(squares / self.count)


def _bucket(value_us: int) -> int:
    shift = max(0, value_us.bit_length() - _LINEAR_BITS)
    return (shift << (_LINEAR_BITS - 1)) + (value_us >> shift)


def _upper_end(bucket: int) -> float:
    """The largest value in µs that falls into a bucket."""
    shift = max(0, (bucket >> (_LINEAR_BITS - 1)) - 1)
    return float(((bucket - shift * _HALF + 1) << shift) - 1)


def round_up_ms(value_ms: float) -> float:
    """The upper end of the bucket that a duration in milliseconds falls into, in milliseconds."""
    return _upper_end(_bucket(round(max(0.0, value_ms) * 1000))) / 1000
