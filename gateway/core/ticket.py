"""A request in a batcher, what it is told in the end, and its share of a batch.

Rules: a ticket is over once, by its reply or because nobody waits for it. Shares are views; only a batch of several is
copied. Must not know an engine, a loop or a limit.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np

from gateway.core.errors import ServingError
from gateway.core.line import Share
from gateway.core.tensors import Tensor


class Served(NamedTuple):
    """One request's share of a batch, and where its time went (seconds)."""

    outputs: Mapping[str, Tensor]
    queue_s: float
    upstream_s: float


Reply = Callable[[Served | ServingError], None]
"""Called once, in the event loop, with what came of a request; it must not raise."""


class Ticket:
    """A request in a batcher, from `send` until its reply or until it is withdrawn.

    `answers` are those of its parts, by the first row of each, where it did not go as one.
    """

    __slots__ = ("answers", "deadline", "inputs", "is_over", "reply", "rows", "since", "started")

    def __init__(self, inputs: Mapping[str, Tensor], rows: int, deadline: float, reply: Reply) -> None:
        self.inputs = inputs
        self.rows = rows
        self.deadline = deadline
        self.reply = reply
        self.since = perf_counter()
        self.started: float | None = None
        self.is_over = False
        self.answers: dict[int, Mapping[str, Tensor]] = {}

    def add_part(self, start: int, share: Mapping[str, Tensor], started: float) -> Served | None:
        """Keep the answer to the rows from `start` on, asked at `started`; returns the whole once it is there.

        Its time upstream is all that was not spent before the first part went.
        """
        self.answers[start] = share
        self.started = started if self.started is None else min(self.started, started)
        parts = [part for _, part in sorted(self.answers.items(), key=lambda answer: answer[0])]
        first = next(iter(share))
        if sum(len(part[first]) for part in parts) < self.rows:
            return None
        outputs = {name: np.concatenate([part[name] for part in parts]) for name in share}
        return Served(outputs, self.started - self.since, perf_counter() - self.started)


Batch = Sequence[Share[Ticket]]


def count_rows(batch: Batch) -> int:
    """The rows of a batch."""
    return sum(stop - start for _, start, stop in batch)


def stack_key(inputs: Mapping[str, Tensor]) -> Hashable:
    """What the inputs of two requests must have in common to be rows of one batch."""
    if len(inputs) == 1:
        for tensor in inputs.values():
            return tensor.shape[1:]
    return tuple(sorted((name, tensor.shape[1:]) for name, tensor in inputs.items()))


def stack(batch: Batch) -> Mapping[str, Tensor]:
    """The inputs of a batch, one share after the other; of one that is alone, as they are."""
    if len(batch) == 1:
        return _rows_of(*batch[0])
    shares = [_rows_of(*share) for share in batch]
    return {name: np.concatenate([share[name] for share in shares]) for name in shares[0]}


def _rows_of(ticket: Ticket, start: int, stop: int) -> Mapping[str, Tensor]:
    if stop - start == ticket.rows:
        return ticket.inputs
    return {name: tensor[start:stop] for name, tensor in ticket.inputs.items()}
