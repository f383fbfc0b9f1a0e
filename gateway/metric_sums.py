"""What requests add to metrics, kept as plain numbers until somebody looks.

prometheus_client takes two locks and builds a key for each number, and walks a histogram's buckets one by one: a
request adds some twenty numbers, which took longer than reading it. Here they cost a dictionary entry each and are
moved over by `flush`. Must not know what the metrics mean.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge, Histogram

Labels = tuple[str | int, ...]


class LateCount:
    """A counter, or a gauge that only goes up and down."""

    def __init__(self, metric: Counter | Gauge) -> None:
        self._metric = metric
        self._due: defaultdict[Labels, int] = defaultdict(int)

    def add(self, labels: Labels, amount: int = 1) -> None:
        """Add to the child with these labels, in the order in which the metric names them."""
        self._due[labels] += amount

    def flush(self) -> None:
        """Move over what is due. A child that was added to is there from then on, even at 0."""
        due, self._due = self._due, defaultdict(int)
        for labels, amount in due.items():
            self._metric.labels(*labels).inc(amount)


class BulkHistogram(Histogram):
    """A histogram that takes counted observations, many at once."""

    def add(self, counts: Sequence[int], total: float) -> None:
        """Add `counts` observations, a number for each bucket, whose values sum up to `total`."""
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


class LateObservations:
    """One child of a histogram."""

    __slots__ = ("_bounds", "_child", "_counts", "_total")

    def __init__(self, histogram: BulkHistogram, labels: Labels, bounds: Sequence[float]) -> None:
        self._child = histogram.labels(*labels)
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        """Count a value into its bucket, the first whose bound is not below it."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def observe_all(self, values: NDArray[np.float64]) -> None:
        """Count many values of any number."""
        found = np.bincount(np.searchsorted(self._bounds, values), minlength=len(self._counts))
        self._counts = [before + more for before, more in zip(self._counts, found.tolist(), strict=True)]
        self._total += float(values.sum())

    def flush(self) -> None:
        """Move over what is due."""
        if any(self._counts):
            self._child.add(self._counts, self._total)
            self._counts = [0] * len(self._counts)
            self._total = 0.0
