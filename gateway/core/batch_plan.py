"""Which waiting requests go into the next batch: a pure decision, no clock, no waiting.

Rules: dispatch at once while fewer than `in_flight` batches are out; otherwise gather until one returns. A batch is
the longest prefix of the queue that fits the row limit and whose rows can be stacked. First come, first served: the
head is never overtaken, and a request over the limit goes alone.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Bounds of one batcher: batches out at once, rows in a batch, rows waiting."""

    in_flight: int = 2
    batch_rows: int = 64
    queue_rows: int = 8192


@dataclass(frozen=True, slots=True)
class Candidate:
    """A waiting request as the plan sees it: its rows, and what must be equal for rows to be stacked."""

    rows: int
    stack_key: Hashable


def plan_batch(waiting: Iterable[Candidate], batches_out: int, limits: BatchLimits) -> int:
    """Return how many requests, from the head of the queue, to send now as one batch (0: none)."""
    if batches_out >= limits.in_flight:
        return 0
    taken = rows = 0
    key: Hashable = None
    for candidate in waiting:
        if taken == 0:
            key = candidate.stack_key
        elif candidate.stack_key != key or rows + candidate.rows > limits.batch_rows:
            break
        taken += 1
        rows += candidate.rows
        if rows >= limits.batch_rows:
            break
    return taken
