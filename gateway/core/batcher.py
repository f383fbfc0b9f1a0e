"""The thin loop around the line and the pace: owned by one version on one endpoint, so versions never mix in a batch.

Rules: what goes next is decided by gateway.core.line, how many rows and how many batches by gateway.core.pace; here it
is done. No timer gathers: a batch goes as soon as one may, at the end of the turn of the event loop in which it could,
or at once where requests come one by one; and before the answers of the last one are told.
The queue is bounded and refuses early. A request that was cancelled or ran out of time leaves the line without touching
its batch mates, and one that the engine refuses is tried alone, so that it fails alone. A request that goes in parts is
answered whole: the first part to fail fails it.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic, perf_counter

from gateway.core.errors import DeadlineExceeded, EngineFailed, EngineRejected, Overloaded, ServingError, TooLarge
from gateway.core.expiry import TOO_LATE, Expiry
from gateway.core.line import Line
from gateway.core.messages import EngineBatch
from gateway.core.pace import Bounds, Pace
from gateway.core.ports import Engine, Events
from gateway.core.tensors import Signature, Tensor, count_bytes
from gateway.core.ticket import Batch, Reply, Served, Ticket, count_rows, stack, stack_key

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Bounds of one batcher: the pace's, the bytes of a batch, the rows that may wait."""

    pace: Bounds = field(default_factory=Bounds)
    queue_rows: int = 8192
    batch_bytes: int = 32 * 1024 * 1024


class Batcher:
    """Batches the requests for one version on one endpoint."""

    def __init__(
        self, engine: Engine, model: str, version: int, signature: Signature, limits: BatchLimits, events: Events
    ) -> None:
        self._engine = engine
        self._endpoint = engine.endpoint
        self._model = model
        self._version = version
        self._signature = signature
        self._limits = limits
        self._events = events
        self._line: Line[Ticket] = Line()
        self._told_rows = 0
        self._pace = Pace(limits.pace)
        self._batches: dict[asyncio.Task[None], Batch] = {}
        self._out = self._out_rows = 0  # calls that the engine owes an answer to; batches may still be told theirs
        self._unanswered_since: float | None = None
        self._is_abandoned = False
        self._is_due = False
        self._is_solitary = False
        self._expiry = Expiry(self._all_waiting, self._finish)
        # Outputs whose rows may differ from part to part cannot be joined.
        self._can_part = signature.is_batchable and all(-1 not in spec.shape[1:] for spec in signature.outputs)

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody may be submitted any more, because the endpoint was lost."""
        return self._is_abandoned

    @property
    def queued_rows(self) -> int:
        """Rows that wait for a batch to return."""
        return self._line.rows

    @property
    def outstanding_rows(self) -> int:
        """Rows that wait, and rows that the engine owes an answer to."""
        return self._line.rows + self._out_rows

    @property
    def is_behind(self) -> bool:
        """Whether more rows wait than the next batch will hold."""
        return self._line.rows > self._pace.rows_limit

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

        Raises TooLarge, Overloaded, and DeadlineExceeded for a deadline that has passed already.
        """
        if deadline <= monotonic():
            raise DeadlineExceeded(TOO_LATE)
        line, most_rows = self._line, self._limits.queue_rows
        if rows > most_rows:
            raise TooLarge(f"expected at most {most_rows} rows in one request, got {rows}: send several")
        if line.rows and line.rows + rows > most_rows:
            self._dispatch()  # what may go at once does not wait
        if line.rows and line.rows + rows > most_rows:
            raise Overloaded(
                f"the queue of {self._model} version {self._version} on {self._engine.name} is full: "
                f"{line.rows} of {most_rows} rows wait"
            )
        ticket = Ticket(inputs, rows, deadline, reply)
        size_bytes = 0
        for tensor in inputs.values():
            size_bytes += count_bytes(tensor)
        line.push(ticket, rows, size_bytes, stack_key(inputs) if self._signature.is_batchable else None, self._can_part)
        self._dispatch_soon()
        self._tell_queue()
        self._expiry.expect(deadline)
        return ticket

    def withdraw(self, ticket: Ticket) -> None:
        """Nobody waits for it any more: it gets no reply from now on. Idempotent."""
        ticket.is_over = True
        if self._line.remove(ticket):
            self._tell_queue()

    def abandon(self, error: ServingError) -> None:
        """Fail everybody who waits, queued or sent: the engine will not answer. Nothing may be submitted after it."""
        self._is_abandoned = True
        self._fail(self._all_waiting(), error)
        for task in self._batches:
            task.cancel()

    def engine_answered(self) -> None:
        """The engine gave a sign of life, here or elsewhere."""
        self._unanswered_since = perf_counter() if self._out else None

    async def close(self) -> None:
        """Wait for the batches that are out. Call once nothing is submitted any more."""
        while self._batches:
            await asyncio.wait(self._batches)
        self._expiry.cancel()

    def _rows_limit(self) -> int:
        if len(self._line) <= 2:  # too few to be parted for the gateway's sake
            return self._pace.rows_limit
        return self._pace.limit_among(self._line.rows + self._out_rows)

    def _may_send(self) -> bool:
        if not len(self._line) or self._is_abandoned:
            return False
        return self._pace.may_send(self._out, self._line.full(self._rows_limit(), self._limits.batch_bytes))

    def _dispatch_soon(self) -> None:
        """When all that comes in this turn of the event loop is there: those go together then.

        At once where requests come one by one: for the last one nobody had come to wait.
        """
        if self._is_solitary and not self._out:
            self._dispatch()
        elif not self._is_due and self._may_send():
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> bool:
        """Send what may go; whether anything did."""
        self._is_due = has_sent = False
        while self._may_send():
            beside_others = not self._pace.may_send(self._out, is_full=False)
            batch = self._line.take(self._rows_limit(), self._limits.batch_bytes, full_first=beside_others)
            self._is_solitary = len(batch) == 1 and not len(self._line)
            self._count_out(batch, 1)
            self._unanswered_since = self._unanswered_since or perf_counter()
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._batches[task] = batch
            task.add_done_callback(self._batch_returned)
            has_sent = True
        self._tell_queue()
        return has_sent

    def _count_out(self, batch: Batch, calls: int) -> None:
        self._out += calls
        self._out_rows += calls * count_rows(batch)

    def _batch_returned(self, task: asyncio.Task[None]) -> None:
        del self._batches[task]
        self._dispatch_soon()

    def _tell_queue(self) -> None:
        if self._line.rows != self._told_rows:
            self._events.queue_changed(self._engine.name, self._line.rows - self._told_rows)
            self._told_rows = self._line.rows

    def _finish(self, ticket: Ticket, outcome: Served | ServingError) -> None:
        if ticket.is_over:
            return
        self.withdraw(ticket)
        try:
            ticket.reply(outcome)
        except Exception:
            log.exception("a bug in what follows an answer; the others in its batch are told theirs")

    def _fail(self, tickets: Sequence[Ticket], error: ServingError) -> None:
        for ticket in tickets:
            # Each its own instance: one raised in several tasks would mix their tracebacks.
            self._finish(ticket, type(error)(error.message))

    def _all_waiting(self) -> list[Ticket]:
        return [*self._line, *(ticket for batch in self._batches.values() for ticket, _, _ in batch)]

    async def _run(self, batch: Batch) -> None:
        tickets = [ticket for ticket, _, _ in batch]
        self._events.in_flight_changed(self._endpoint, len(batch))
        try:
            try:
                await self._answer(batch)
            except EngineRejected as error:
                if len(batch) == 1:
                    self._fail(tickets, error)
                else:
                    await self._answer_one_by_one(batch)
        except ServingError as error:
            self._fail(tickets, error)
        except BaseException as error:
            # A bug or a cancellation: nobody may be left waiting for an answer that will not come.
            self._fail(tickets, EngineFailed(f"the batch on {self._engine.name} broke off: {error!r}"))
            raise
        finally:
            self._events.in_flight_changed(self._endpoint, -len(batch))

    async def _answer_one_by_one(self, batch: Batch) -> None:
        for share in batch:
            ticket = share[0]
            if ticket.is_over:
                continue
            self._count_out([share], 1)
            try:
                await self._answer([share])
            except EngineRejected as error:
                self._fail([ticket], error)

    async def _answer(self, batch: Batch) -> None:
        started = perf_counter()  # the event loop's own clock may tick in whole milliseconds
        out, rows = self._out, count_rows(batch)
        deadline = max(ticket.deadline for ticket, _, _ in batch)
        try:
            outputs = await self._engine.infer(EngineBatch(self._model, self._version, stack(batch), deadline))
        except EngineRejected:
            self.engine_answered()  # a refusal is an answer
            raise
        finally:
            self._count_out(batch, -1)
        self.engine_answered()
        upstream_s = perf_counter() - started
        self._pace.observe(rows, upstream_s, out)
        broken = self._signature.find_broken_output(outputs, rows)
        if broken:
            raise EngineFailed(f"{self._engine.name} answered against the signature: {broken}")
        outputs = {spec.name: outputs[spec.name] for spec in self._signature.outputs}  # in one order on all engines
        self._events.batch_done(self._engine.name, self._model, self._version, rows)
        if self._dispatch():
            await asyncio.sleep(0)  # the engine is asked again before the answers are told, which takes a while
        self._tell(batch, outputs, started, upstream_s)

    def _tell(self, batch: Batch, outputs: Mapping[str, Tensor], started: float, upstream_s: float) -> None:
        at = 0
        for ticket, start, stop in batch:
            share = (
                outputs
                if len(batch) == 1
                else {name: tensor[at : at + stop - start] for name, tensor in outputs.items()}
            )
            at += stop - start
            if stop - start == ticket.rows:
                self._finish(ticket, Served(share, started - ticket.since, upstream_s))
            else:
                self._finish_part(ticket, start, share, started)

    def _finish_part(self, ticket: Ticket, start: int, share: Mapping[str, Tensor], started: float) -> None:
        outcome = ticket.add_part(start, share, started)
        if outcome is not None:
            self._finish(ticket, outcome)
