"""The ledger: how many requests of each version were accepted, answered and failed, and how long answers took.

Rules: accepted = answered + failed at every quiet moment. Counts only grow, so a window is the difference of two, and
those of several gateway processes add up. Must not know who reads them.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gateway.core.usage import UsageBook

FINEST_S = 0.0001
STEP = 1.1
BUCKETS = 131  # the last one begins at 24 s
_LOG_STEP = math.log(STEP)


@dataclass(slots=True)
class Counts:
    """Requests of one version. `faults` are failures that are not the client's, `rescued` those that one engine failed
    and the other answered; `latency` counts answers by duration.

    `copies` are mirrored answers that were compared, `mismatches` those on which the engines disagreed.
    Bucket i of `latency` holds what took less than FINEST_S * STEP**(i+1) seconds and no less than the bucket before.
    """

    accepted: int = 0
    answered: int = 0
    failed: int = 0
    faults: int = 0
    rescued: int = 0
    copies: int = 0
    mismatches: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * BUCKETS)

    @property
    def troubled(self) -> int:
        """Requests that an engine failed, whether the client noticed or not."""
        return self.faults + self.rescued

    @property
    def finished(self) -> int:
        return self.answered + self.failed

    def add_latency(self, seconds: float) -> None:
        self.latency[bucket_of(seconds)] += 1

    def quantile_s(self, share: float) -> float | None:
        """The duration (seconds) within which this share of the answers came, up to 10 % too long; None without any."""
        wanted = share * sum(self.latency)
        seen = 0
        for index, count in enumerate(self.latency):
            seen += count
            if count and seen >= wanted:
                return float(FINEST_S * STEP ** (index + 1))
        return None

    def slower_than(self, seconds: float) -> int:
        """How many answers took longer, counted from the bucket after the one that holds `seconds`."""
        return sum(self.latency[bucket_of(seconds) + 1 :])


def bucket_of(seconds: float) -> int:
    """The index of the bucket that holds this duration."""
    if seconds <= FINEST_S:
        return 0
    return min(int(math.log(seconds / FINEST_S) / _LOG_STEP), BUCKETS - 1)


def total(parts: Iterable[Counts]) -> Counts:
    """The sum of several processes' counts."""
    return _combine(list(parts), sum)


def window(now: Counts, before: Counts) -> Counts:
    """What was counted between two moments; never negative, though a process that counted may have died since."""
    return _combine([now, before], lambda pair: max(pair[0] - pair[1], 0))


def _combine(parts: list[Counts], combine: Callable[[list[int]], int]) -> Counts:
    return Counts(
        accepted=combine([part.accepted for part in parts]),
        answered=combine([part.answered for part in parts]),
        failed=combine([part.failed for part in parts]),
        faults=combine([part.faults for part in parts]),
        rescued=combine([part.rescued for part in parts]),
        copies=combine([part.copies for part in parts]),
        mismatches=combine([part.mismatches for part in parts]),
        latency=[combine([part.latency[index] for part in parts]) for index in range(BUCKETS)],
    )


class Ledger:
    """This process's counts, by (model, version); `usage` is the book beside it, of work and time."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], Counts] = {}
        self.usage = UsageBook()

    @property
    def counts(self) -> Mapping[tuple[str, int], Counts]:
        return self._counts

    def of(self, model: str, version: int) -> Counts:
        """The counts of one version, to be added to."""
        counts = self._counts.get((model, version))
        if counts is None:
            counts = self._counts[model, version] = Counts()
        return counts
