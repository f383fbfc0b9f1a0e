"""The thin loop around batch_plan: owned by one version on one engine, so versions never mix in a batch.

Rules: no timer and no task of its own while idle. The queue is bounded and refuses early. A request that was
cancelled or ran out of time leaves the queue without touching its batch mates, and one that the engine refuses is
tried alone, so that it fails alone. A request of more rows than a batch may have is sent in parts and answered whole:
the first part to fail fails it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter

import numpy as np

from gateway.core.batch_plan import BatchLimits, Candidate, plan_batch, plan_parts
from gateway.core.errors import DeadlineExceeded, EngineFailed, EngineRejected, Overloaded, ServingError, TooLarge
from gateway.core.messages import EngineBatch
from gateway.core.ports import Engine, Events
from gateway.core.tensors import Signature, Tensor, count_bytes


@dataclass(frozen=True, slots=True)
class Served:
    """One request's share of a batch, and where its time went (seconds)."""

    outputs: Mapping[str, Tensor]
    queue_s: float
    upstream_s: float


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    inputs: Mapping[str, Tensor]
    size: Candidate
    deadline: float
    since: float
    future: asyncio.Future[Served]


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
        self._queue: OrderedDict[_Waiting, None] = OrderedDict()
        self._queued_rows = 0
        self._batches: dict[asyncio.Task[None], Sequence[_Waiting]] = {}
        self._unanswered_since: float | None = None
        self._is_abandoned = False
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
        loop = asyncio.get_running_loop()
        if rows > self._limits.queue_rows:
            raise TooLarge(f"expected at most {self._limits.queue_rows} rows in one request, got {rows}: send several")
        if self._queued_rows + rows > self._limits.queue_rows and self._queue:
            raise Overloaded(
                f"the queue of {self._model} version {self._version} on {self._engine.name} is full: "
                f"{self._queued_rows} of {self._limits.queue_rows} rows wait"
            )
        size_bytes = sum(map(count_bytes, inputs.values()))
        if self._can_part and rows > 1 and self._limits.are_passed_by(rows, size_bytes):
            return await self._submit_parts(inputs, plan_parts(rows, size_bytes, self._limits), deadline)
        waiting = self._enqueue(inputs, rows, size_bytes, deadline)
        self._dispatch()
        timer = loop.call_at(deadline, _expire, waiting.future)
        try:
            return await waiting.future
        finally:
            timer.cancel()
            self._leave_queue(waiting)

    async def _submit_parts(self, inputs: Mapping[str, Tensor], parts: Sequence[range], deadline: float) -> Served:
        started = perf_counter()
        members = []
        for part in parts:
            share = {name: tensor[part.start : part.stop] for name, tensor in inputs.items()}
            members.append(self._enqueue(share, len(part), sum(map(count_bytes, share.values())), deadline))
        self._dispatch()
        timer = asyncio.get_running_loop().call_at(deadline, _expire_all, members)
        try:
            await asyncio.wait([member.future for member in members], return_when=asyncio.FIRST_EXCEPTION)
            served = _results_of(members)
        finally:
            timer.cancel()
            for member in members:
                # What is still out is answered for nobody; what has failed since is looked at, and that is all.
                if not member.future.cancel() and not member.future.cancelled():
                    member.future.exception()
                self._leave_queue(member)
        queue_s = served[0].queue_s
        return Served(_join([part.outputs for part in served]), queue_s, perf_counter() - started - queue_s)

    def _enqueue(self, inputs: Mapping[str, Tensor], rows: int, size_bytes: int, deadline: float) -> _Waiting:
        size = Candidate(rows, self._stack_key(inputs), size_bytes)
        future: asyncio.Future[Served] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(inputs, size, deadline, perf_counter(), future)
        self._queue[waiting] = None
        self._count_queued(rows)
        return waiting

    def abandon(self, error: ServingError) -> None:
        """Fail everybody who waits, queued or sent: the engine will not answer. Nothing may be submitted after it."""
        self._is_abandoned = True
        waiting = [*self._queue, *(member for batch in self._batches.values() for member in batch)]
        _fail(waiting, error)
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

    def _take(self) -> list[_Waiting]:
        # Who expired or was cancelled this very moment has not left the queue yet.
        alive = (waiting for waiting in self._queue if not waiting.future.done())
        planned = plan_batch((waiting.size for waiting in alive), len(self._batches), self._limits)
        batch = list(islice((waiting for waiting in self._queue if not waiting.future.done()), planned))
        for waiting in batch:
            self._leave_queue(waiting)
        return batch

    def _leave_queue(self, waiting: _Waiting) -> None:
        if waiting in self._queue:
            del self._queue[waiting]
            self._count_queued(-waiting.size.rows)

    def _count_queued(self, rows: int) -> None:
        self._queued_rows += rows
        self._events.queue_changed(self._engine.name, rows)

    def _batch_returned(self, task: asyncio.Task[None]) -> None:
        del self._batches[task]
        self._dispatch()

    async def _run(self, batch: Sequence[_Waiting]) -> None:
        self._events.in_flight_changed(self._engine.name, len(batch))
        try:
            try:
                await self._answer(batch)
            except EngineRejected as error:
                if len(batch) == 1:
                    _fail(batch, error)
                else:
                    await self._answer_one_by_one(batch)
        except ServingError as error:
            _fail(batch, error)
        except BaseException as error:
            # A bug or a cancellation: nobody may be left waiting for an answer that will not come.
            _fail(batch, EngineFailed(f"the batch on {self._engine.name} broke off: {error!r}"))
            raise
        finally:
            self._events.in_flight_changed(self._engine.name, -len(batch))

    async def _answer_one_by_one(self, batch: Sequence[_Waiting]) -> None:
        for waiting in batch:
            if waiting.future.done():
                continue
            try:
                await self._answer([waiting])
            except EngineRejected as error:
                _fail([waiting], error)

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        started = perf_counter()  # the event loop's own clock may tick in whole milliseconds
        rows = sum(waiting.size.rows for waiting in batch)
        deadline = max(waiting.deadline for waiting in batch)
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
        for waiting, share in zip(batch, _split(outputs, batch), strict=True):
            if not waiting.future.done():
                waiting.future.set_result(Served(share, started - waiting.since, upstream_s))


def _stack(batch: Sequence[_Waiting]) -> Mapping[str, Tensor]:
    if len(batch) == 1:
        return batch[0].inputs
    return {name: np.concatenate([waiting.inputs[name] for waiting in batch]) for name in batch[0].inputs}


def _split(outputs: Mapping[str, Tensor], batch: Sequence[_Waiting]) -> list[Mapping[str, Tensor]]:
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


def _results_of(members: Sequence[_Waiting]) -> list[Served]:
    """What all of them were answered. Raises what the first that failed did."""
    for member in members:
        if member.future.done() and (error := member.future.exception()) is not None:
            raise error
    return [member.future.result() for member in members]


def _fail(batch: Sequence[_Waiting], error: ServingError) -> None:
    for waiting in batch:
        if not waiting.future.done():
            # Each its own instance: one raised in several tasks would mix their tracebacks.
            waiting.future.set_exception(type(error)(error.message))


def _expire(future: asyncio.Future[Served]) -> None:
    if not future.done():
        future.set_exception(DeadlineExceeded("the deadline passed before an engine answered"))


def _expire_all(members: Sequence[_Waiting]) -> None:
    for member in members:
        _expire(member.future)
