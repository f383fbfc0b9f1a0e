"""Which waiting requests go into the next batch: a pure decision, no clock, no waiting.

Rules: dispatch at once while fewer than `in_flight` batches are out; otherwise gather until one returns. A batch is
the longest prefix of the queue that fits the limits and whose rows can be stacked. First come, first served: the
head is never overtaken. A request over a limit waits in parts that are within it; one that has no rows to part goes
alone.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Bounds of one batcher: batches out at once, rows and bytes in a batch, rows waiting."""

    in_flight: int = 2
    batch_rows: int = 64
    queue_rows: int = 8192
    batch_bytes: int = 32 * 1024 * 1024

    def are_passed_by(self, rows: int, size_bytes: int) -> bool:
        """Whether a request of this size does not fit into one batch."""
        return rows > self.batch_rows or size_bytes > self.batch_bytes


@dataclass(frozen=True, slots=True)
class Candidate:
    """A waiting request as the plan sees it: its size, and what must be equal for rows to be stacked."""

    rows: int
    stack_key: Hashable
    size_bytes: int = 0


def plan_batch(waiting: Iterable[Candidate], batches_out: int, limits: BatchLimits) -> int:
    """Return how many requests, from the head of the queue, to send now as one batch (0: none)."""
    if batches_out >= limits.in_flight:
        return 0
    taken = rows = size_bytes = 0
    key: Hashable = None
    for candidate in waiting:
        rows += candidate.rows
        size_bytes += candidate.size_bytes
        if taken == 0:
            key = candidate.stack_key
        elif candidate.stack_key != key or rows > limits.batch_rows or size_bytes > limits.batch_bytes:
            break
        taken += 1
        if rows >= limits.batch_rows:
            break
    return taken


def plan_parts(rows: int, size_bytes: int, limits: BatchLimits) -> Sequence[range]:
    """Cut a request into parts that fit into a batch, as ranges of its rows.

    All but the last are as large as the limits allow, and each has a row at least.
    """
    most = max(1, min(limits.batch_rows, limits.batch_bytes * rows // max(size_bytes, 1)))
    return tuple(range(start, min(start + most, rows)) for start in range(0, rows, most))
