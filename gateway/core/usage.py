"""What each version has computed, and where the time of its requests went: the sums behind served statistics.

Rules: sums only grow, so a window is the difference of two, and those of several gateway processes add up. Fed by the
events that metrics are fed by. Must not know who reads them, nor how they are written.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

_NS = 1_000_000_000


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

    @property
    def usages(self) -> Usages:
        return self._usages

    def batch_done(self, model: str, version: int, rows: int) -> None:
        """An engine answered a call with this many rows."""
        usage = self._of(model, version)
        usage.rows += rows
        usage.executions += 1

    def request_answered(self, model: str, version: int, stages_s: Mapping[str, float]) -> None:
        """A request was answered; `stages_s` has decode, queue, upstream, encode and total."""
        usage = self._of(model, version)
        usage.answered += 1
        usage.answered_ns += int(stages_s["total"] * _NS)
        usage.decode_ns += int(stages_s["decode"] * _NS)
        usage.queue_ns += int(stages_s["queue"] * _NS)
        usage.upstream_ns += int(stages_s["upstream"] * _NS)
        usage.encode_ns += int(stages_s["encode"] * _NS)
        usage.last_answered_ms = time.time_ns() // 1_000_000

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
