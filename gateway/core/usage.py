"""What each version has computed, and where the time of its requests went: the sums behind served statistics.

Rules: sums only grow, so a window is the difference of two, and those of several gateway processes add up. Fed by the
events that metrics are fed by. Must not know who reads them, nor how they are written.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

_NS = 1_000_000_000
_MOST_FRESH = 512


class Stages(NamedTuple):
    """Where the time of an answered request went, in seconds; `total` is from its head to its encoded answer."""

    decode: float
    queue: float
    upstream: float
    encode: float
    total: float


@dataclass(slots=True)
class Usage:
    """One version's sums; durations in nanoseconds, `last_answered_ms` in Unix milliseconds (0: never).

    `answered` and `failed` count requests. `rows` and `executions` count what engines computed and the calls it took,
    copies for the mirror included.
    """

    answered: int = 0
    answered_ns: int = 0
    failed: int = 0
    failed_ns: int = 0
    decode_ns: int = 0
    queue_ns: int = 0
    upstream_ns: int = 0
    encode_ns: int = 0
    rows: int = 0
    executions: int = 0
    last_answered_ms: int = 0


Usages = Mapping[tuple[str, int], Usage]
"""By (model, version)."""


class UsageBook:
    """This process's sums. Its methods are those events of gateway.core.ports and the protocols that matter here."""

    def __init__(self) -> None:
        self._usages: dict[tuple[str, int], Usage] = {}
        # Answers that are not added up yet: many at once take a tenth of the time that one by one would.
        self._fresh: dict[tuple[str, int], list[Stages]] = {}

    @property
    def usages(self) -> Usages:
        for model, version in self._fresh:
            self._add_up(model, version)
        return self._usages

    def batch_done(self, model: str, version: int, rows: int) -> None:
        """An engine answered a call with this many rows."""
        usage = self._of(model, version)
        usage.rows += rows
        usage.executions += 1

    def request_answered(self, model: str, version: int, stages_s: Stages) -> None:
        """A request was answered."""
        fresh = self._fresh.get((model, version))
        if fresh is None:
            fresh = self._fresh[model, version] = []
        fresh.append(stages_s)
        self._of(model, version).last_answered_ms = time.time_ns() // 1_000_000
        if len(fresh) >= _MOST_FRESH:
            self._add_up(model, version)

    def _add_up(self, model: str, version: int) -> None:
        fresh = self._fresh[model, version]
        usage = self._of(model, version)
        usage.answered += len(fresh)
        sums = (np.array(fresh).reshape(-1, len(Stages._fields)).sum(axis=0) * _NS).astype(np.int64).tolist()
        usage.decode_ns += sums[0]
        usage.queue_ns += sums[1]
        usage.upstream_ns += sums[2]
        usage.encode_ns += sums[3]
        usage.answered_ns += sums[4]
        fresh.clear()

    def request_failed(self, model: str, version: int, seconds: float) -> None:
        """A request for a version that exists was refused or failed."""
        usage = self._of(model, version)
        usage.failed += 1
        usage.failed_ns += int(seconds * _NS)

    def _of(self, model: str, version: int) -> Usage:
        usage = self._usages.get((model, version))
        if usage is None:
            usage = self._usages[model, version] = Usage()
        return usage


def total(parts: Iterable[Usage]) -> Usage:
    """The sum of several processes' usages of one version."""
    summed = Usage()
    for part in parts:
        for known in fields(Usage):
            name = known.name
            before, more = getattr(summed, name), getattr(part, name)
            setattr(summed, name, max(before, more) if name == "last_answered_ms" else before + more)
    return summed


def together(books: Iterable[Usages]) -> dict[tuple[str, int], Usage]:
    """What several processes have used, added up."""
    books = list(books)
    keys = {key for book in books for key in book}
    return {key: total(book[key] for book in books if key in book) for key in keys}
