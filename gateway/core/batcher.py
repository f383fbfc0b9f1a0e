"""The thin loop around batch_plan: owned by one version on one engine, so versions never mix in a batch.

Rules: no timer and no task of its own while idle. The queue is bounded and refuses early. A request that was
cancelled or ran out of time leaves the queue without touching its batch mates, and one that the engine refuses is
tried alone, so that it fails alone. A request of more rows than a batch may have is sent in parts and answered whole:
the first part to fail fails it.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from time import perf_counter

import numpy as np

from gateway.core.batch_plan import BatchLimits, Candidate, plan_batch, plan_parts
from gateway.core.errors import DeadlineExceeded, EngineFailed, EngineRejected, Overloaded, ServingError, TooLarge
from gateway.core.messages import EngineBatch
from gateway.core.ports import Engine, Events
from gateway.core.tensors import Signature, Tensor, count_bytes

_EXPIRY_PAUSE_S = 0.005


@dataclass(frozen=True, slots=True)
class Served:
    """One request's share of a batch, and where its time went (seconds)."""

    outputs: Mapping[str, Tensor]
    queue_s: float
    upstream_s: float


Reply = Callable[[Served | ServingError], None]
"""Called once, in the event loop, with what came of a request; it must not raise."""


class Ticket:
    """A request in a batcher, from `send` until its reply or until it is withdrawn."""

    __slots__ = ("deadline", "inputs", "is_over", "parts", "reply", "since", "size")

    def __init__(self, inputs: Mapping[str, Tensor], size: Candidate, deadline: float, reply: Reply) -> None:
        self.inputs = inputs
        self.size = size
        self.deadline = deadline
        self.reply = reply
        self.since = perf_counter()
        self.is_over = False
        self.parts: tuple[Ticket, ...] = ()


class Batcher:
    """Batches the requests for one version on one engine."""

    def __init__(
        self, engine: Engine, model: str, version: int, signature: Signature, limits: BatchLimits, events: Events
    ) -> None:
        self._engine = engine
        self._model = model
        self._version = version
        self._signature = signature
        self._limits = limits
        self._events = events
        self._queue: OrderedDict[Ticket, None] = OrderedDict()
        self._queued_rows = 0
        self._batches: dict[asyncio.Task[None], Sequence[Ticket]] = {}
        self._unanswered_since: float | None = None
        self._is_abandoned = False
        self._expiry: asyncio.TimerHandle | None = None
        # Outputs whose rows may differ from part to part cannot be joined.
        self._can_part = signature.is_batchable and all(-1 not in spec.shape[1:] for spec in signature.outputs)

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody may be submitted any more, because the engine was lost."""
        return self._is_abandoned

    @property
    def queued_rows(self) -> int:
        """Rows that wait for a batch to return."""
        return self._queued_rows

    @property
    def silent_s(self) -> float:
        """For how long the engine has been asked without giving any answer; 0 when it owes none."""
        return 0.0 if self._unanswered_since is None else perf_counter() - self._unanswered_since

    async def submit(self, inputs: Mapping[str, Tensor], rows: int, deadline: float) -> Served:
        """Answer `rows` rows of checked inputs.

        Raises TooLarge, Overloaded, DeadlineExceeded, EngineUnreachable, EngineFailed, EngineRejected.
        """
        future: asyncio.Future[Served] = asyncio.get_running_loop().create_future()

        def reply(outcome: Served | ServingError) -> None:
            if future.done():
                return
            if isinstance(outcome, Served):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)

        ticket = self.send(inputs, rows, deadline, reply)
        try:
            return await future
        finally:
            self.withdraw(ticket)

    def send(self, inputs: Mapping[str, Tensor], rows: int, deadline: float, reply: Reply) -> Ticket:
        """The same for whoever does not wait: `reply` is called later, never before this returns.

        Raises TooLarge, Overloaded.
        """
        if rows > self._limits.queue_rows:
            raise TooLarge(f"expected at most {self._limits.queue_rows} rows in one request, got {rows}: send several")
        if self._queued_rows + rows > self._limits.queue_rows and self._queue:
            raise Overloaded(
                f"the queue of {self._model} version {self._version} on {self._engine.name} is full: "
                f"{self._queued_rows} of {self._limits.queue_rows} rows wait"
            )
        size_bytes = 0
        for tensor in inputs.values():
            size_bytes += count_bytes(tensor)
        if self._can_part and rows > 1 and self._limits.are_passed_by(rows, size_bytes):
            ticket = self._queue_parts(inputs, plan_parts(rows, size_bytes, self._limits), deadline, reply)
        else:
            ticket = self._enqueue(inputs, rows, size_bytes, deadline, reply)
        self._dispatch()
        self._expect_until(deadline)
        return ticket

    def withdraw(self, ticket: Ticket) -> None:
        """Nobody waits for it any more: it gets no reply from now on. Idempotent."""
        for part in ticket.parts:
            self.withdraw(part)
        ticket.is_over = True
        self._leave_queue(ticket)

    def _queue_parts(
        self, inputs: Mapping[str, Tensor], parts: Sequence[range], deadline: float, reply: Reply
    ) -> Ticket:
        whole = Ticket(inputs, Candidate(0, None), deadline, reply)
        answers: list[Served | None] = [None] * len(parts)

        def take(index: int, outcome: Served | ServingError) -> None:
            if isinstance(outcome, ServingError):
                self._finish(whole, outcome)
                self.withdraw(whole)  # what is still out is answered for nobody
                return
            answers[index] = outcome
            served = [answer for answer in answers if answer is not None]
            if len(served) == len(answers):
                queue_s = served[0].queue_s
                outputs = _join([part.outputs for part in served])
                self._finish(whole, Served(outputs, queue_s, perf_counter() - whole.since - queue_s))

        members = []
        for index, part in enumerate(parts):
            share = {name: tensor[part.start : part.stop] for name, tensor in inputs.items()}
            size_bytes = sum(map(count_bytes, share.values()))
            members.append(self._enqueue(share, len(part), size_bytes, deadline, partial(take, index)))
        whole.parts = tuple(members)
        return whole

    def _enqueue(
        self, inputs: Mapping[str, Tensor], rows: int, size_bytes: int, deadline: float, reply: Reply
    ) -> Ticket:
        ticket = Ticket(inputs, Candidate(rows, self._stack_key(inputs), size_bytes), deadline, reply)
        self._queue[ticket] = None
        self._count_queued(rows)
        return ticket

    def _finish(self, ticket: Ticket, outcome: Served | ServingError) -> None:
        if ticket.is_over:
            return
        ticket.is_over = True
        self._leave_queue(ticket)
        ticket.reply(outcome)

    def _expect_until(self, deadline: float) -> None:
        """Look for those whose time is over when the first of them may be: one timer for all that wait."""
        if self._expiry is not None:
            if self._expiry.when() <= deadline:
                return
            self._expiry.cancel()
        self._expiry = asyncio.get_running_loop().call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        now = asyncio.get_running_loop().time()
        nearest = math.inf
        for ticket in self._all_waiting():
            if ticket.deadline <= now:
                self._finish(ticket, DeadlineExceeded("the deadline passed before an engine answered"))
            elif not ticket.is_over:
                nearest = min(nearest, ticket.deadline)
        if nearest < math.inf:
            # Many deadlines close to each other are not looked for one by one.
            self._expect_until(max(nearest, now + _EXPIRY_PAUSE_S))

    def _all_waiting(self) -> list[Ticket]:
        return [*self._queue, *(member for batch in self._batches.values() for member in batch)]

    def abandon(self, error: ServingError) -> None:
        """Fail everybody who waits, queued or sent: the engine will not answer. Nothing may be submitted after it."""
        self._is_abandoned = True
        self._fail(self._all_waiting(), error)
        for task in self._batches:
            task.cancel()

    def engine_answered(self) -> None:
        """The engine gave a sign of life, here or elsewhere."""
        self._unanswered_since = perf_counter() if len(self._batches) > 1 else None

    async def close(self) -> None:
        """Wait for the batches that are out. Call once nothing is submitted any more."""
        while self._batches:
            await asyncio.wait(self._batches)

    def _stack_key(self, inputs: Mapping[str, Tensor]) -> Hashable:
        if not self._signature.is_batchable:
            return object()  # equal to nothing else: each request is its own batch
        if len(inputs) == 1:
            [(name, tensor)] = inputs.items()
            return name, tensor.shape[1:]
        return tuple(sorted((name, tensor.shape[1:]) for name, tensor in inputs.items()))

    def _dispatch(self) -> None:
        while batch := self._take():
            self._unanswered_since = self._unanswered_since or perf_counter()
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._batches[task] = batch
            task.add_done_callback(self._batch_returned)

    def _take(self) -> list[Ticket]:
        if not self._queue or len(self._batches) >= self._limits.in_flight:
            return []
        planned = plan_batch((ticket.size for ticket in self._queue), len(self._batches), self._limits)
        batch = list(islice(self._queue, planned))
        for ticket in batch:
            self._leave_queue(ticket)
        return batch

    def _leave_queue(self, ticket: Ticket) -> None:
        if ticket in self._queue:
            del self._queue[ticket]
            self._count_queued(-ticket.size.rows)

    def _count_queued(self, rows: int) -> None:
        self._queued_rows += rows
        self._events.queue_changed(self._engine.name, rows)

    def _batch_returned(self, task: asyncio.Task[None]) -> None:
        del self._batches[task]
        self._dispatch()

    async def _run(self, batch: Sequence[Ticket]) -> None:
        self._events.in_flight_changed(self._engine.name, len(batch))
        try:
            try:
                await self._answer(batch)
            except EngineRejected as error:
                if len(batch) == 1:
                    self._fail(batch, error)
                else:
                    await self._answer_one_by_one(batch)
        except ServingError as error:
            self._fail(batch, error)
        except BaseException as error:
            # A bug or a cancellation: nobody may be left waiting for an answer that will not come.
            self._fail(batch, EngineFailed(f"the batch on {self._engine.name} broke off: {error!r}"))
            raise
        finally:
            self._events.in_flight_changed(self._engine.name, -len(batch))

    async def _answer_one_by_one(self, batch: Sequence[Ticket]) -> None:
        for ticket in batch:
            if ticket.is_over:
                continue
            try:
                await self._answer([ticket])
            except EngineRejected as error:
                self._fail([ticket], error)

    async def _answer(self, batch: Sequence[Ticket]) -> None:
        started = perf_counter()  # the event loop's own clock may tick in whole milliseconds
        rows = sum(ticket.size.rows for ticket in batch)
        deadline = max(ticket.deadline for ticket in batch)
        try:
            outputs = await self._engine.infer(EngineBatch(self._model, self._version, _stack(batch), deadline))
        except EngineRejected:
            self.engine_answered()  # a refusal is an answer
            raise
        self.engine_answered()
        broken = self._signature.find_broken_output(outputs, rows)
        if broken:
            raise EngineFailed(f"{self._engine.name} answered against the signature: {broken}")
        outputs = {spec.name: outputs[spec.name] for spec in self._signature.outputs}  # in one order on all engines
        upstream_s = perf_counter() - started
        self._events.batch_done(self._engine.name, self._model, self._version, rows)
        for ticket, share in zip(batch, _split(outputs, batch), strict=True):
            self._finish(ticket, Served(share, started - ticket.since, upstream_s))

    def _fail(self, batch: Sequence[Ticket], error: ServingError) -> None:
        for ticket in batch:
            # Each its own instance: one raised in several tasks would mix their tracebacks.
            self._finish(ticket, type(error)(error.message))


def _stack(batch: Sequence[Ticket]) -> Mapping[str, Tensor]:
    if len(batch) == 1:
        return batch[0].inputs
    return {name: np.concatenate([waiting.inputs[name] for waiting in batch]) for name in batch[0].inputs}


def _split(outputs: Mapping[str, Tensor], batch: Sequence[Ticket]) -> list[Mapping[str, Tensor]]:
    if len(batch) == 1:
        return [outputs]
    shares: list[Mapping[str, Tensor]] = []
    start = 0
    for waiting in batch:
        end = start + waiting.size.rows
        shares.append({name: tensor[start:end] for name, tensor in outputs.items()})
        start = end
    return shares


def _join(shares: Sequence[Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    return {name: np.concatenate([share[name] for share in shares]) for name in shares[0]}
