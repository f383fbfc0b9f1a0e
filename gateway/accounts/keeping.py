"""The witness that there is when requests are told of one by one: it keeps an account of each until it has ended.

Rules: in the event loop no more is done than has to be done there; the access log and the exporter of spans write on
threads of their own. An account ends once.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import perf_counter
from typing import Protocol
from weakref import WeakValueDictionary

from fastapi import FastAPI

from gateway.accounts.access_log import AccessLog
from gateway.accounts.ended import Ended, Outcome
from gateway.accounts.trace_context import Sampler, Trace
from gateway.core.errors import ServingError
from gateway.core.tensors import Tensor
from gateway.core.usage import Stages
from gateway.protocols import grpc_status, http_status
from gateway.protocols.witness import Asker
from gateway.settings import Settings

log = logging.getLogger(__name__)

_LONGEST_ERROR = 1000


class Teller(Protocol):
    """Who writes down what became of requests. `takes` and `tell` return at once and never raise."""

    def start(self) -> None: ...

    def takes(self, outcome: Outcome, trace: Trace | None) -> bool:
        """Whether a request that ended so is one of those that are told."""

    def tell(self, ended: Ended) -> None: ...

    def close(self) -> None:
        """Tell what is left, for some seconds at most; it blocks."""


class Accounts:
    """See gateway.protocols.witness.Witness. With `sampler` None nothing is traced."""

    def __init__(self, tellers: Sequence[Teller], sampler: Sampler | None) -> None:
        self.tellers = tellers
        self._sampler = sampler
        self._traced: WeakValueDictionary[int, RequestAccount] = WeakValueDictionary()

    @property
    def is_tracing(self) -> bool:
        """Whether engines are told of traces."""
        return self._sampler is not None

    def begin(self, asker: Asker) -> "RequestAccount":
        """See gateway.protocols.witness.Witness."""
        trace = None if self._sampler is None else self._sampler.place(asker.traceparent, asker.tracestate)
        return RequestAccount(self, asker, trace)

    def find(self, inputs: Mapping[str, Tensor]) -> "RequestAccount | None":
        """The traced request whose inputs are this very mapping, if it is still under way."""
        return self._traced.get(id(inputs))

    def keep(self, inputs: Mapping[str, Tensor], account: "RequestAccount") -> None:
        """Let `find` find it; the account holds the inputs meanwhile, so that no other mapping has their id."""
        self._traced[id(inputs)] = account

    def drop(self, inputs: Mapping[str, Tensor]) -> None:
        """Let it be found no longer."""
        self._traced.pop(id(inputs), None)

    def start(self) -> None:
        """Begin to write down."""
        for teller in self.tellers:
            teller.start()

    async def close(self) -> None:
        """Write down what is left, for some seconds at most."""
        await asyncio.gather(*(asyncio.to_thread(teller.close) for teller in self.tellers))


class RequestAccount:
    """See gateway.protocols.witness.Account."""

    __slots__ = ("__weakref__", "_accounts", "_asked_at", "_asker", "_inputs", "_is_over", "_rows", "trace")

    def __init__(self, accounts: Accounts, asker: Asker, trace: Trace | None) -> None:
        self._accounts = accounts
        self._asker = asker
        self._rows: int | None = None
        self._inputs: Mapping[str, Tensor] | None = None
        self._asked_at: float | None = None
        self._is_over = False
        self.trace = trace

    def asked(self, inputs: Mapping[str, Tensor], is_batchable: bool) -> None:
        """See gateway.protocols.witness.Account. Asked again it is for another version, and counts anew."""
        self._rows = 1
        if is_batchable and (first := next(iter(inputs.values()), None)) is not None and first.shape:
            self._rows = first.shape[0]
        if self.trace is not None:
            self._forget_inputs()
            self._inputs = inputs
            self._accounts.keep(inputs, self)

    def goes_alone(self) -> None:
        """An engine is asked now for this request and no other."""
        if self._asked_at is None:
            self._asked_at = perf_counter()

    def answered(self, model: str, version: int, engine: str, protocol: str, stages_s: Stages) -> None:
        """See gateway.protocols.witness.Account."""
        outcome = Outcome(200 if self._asker.method else "OK", "ok")
        self._end(protocol, (model, str(version), engine), outcome, stages_s, stages_s.total)

    def failed(self, model: str, version: str, protocol: str, error: ServingError, seconds: float) -> None:
        """See gateway.protocols.witness.Account."""
        status: int | str
        if self._asker.method:
            status = http_status.status_of(error)
            is_fault = status >= 500
        else:
            code = grpc_status.status_of(error)
            status, is_fault = code.name, code in grpc_status.OURS
        # A message may quote what the client sent: at any length, and with bytes in it that are no text.
        said = error.message[:_LONGEST_ERROR].encode("utf-8", "replace").decode()
        outcome = Outcome(status, error.outcome, said, is_fault)
        self._end(protocol, (model, version, error.engine), outcome, None, seconds)

    def _end(
        self,
        protocol: str,
        who: tuple[str, str, str],
        outcome: Outcome,
        stages_s: Stages | None,
        total_s: float,
    ) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._forget_inputs()
        tellers = [teller for teller in self._accounts.tellers if teller.takes(outcome, self.trace)]
        if not tellers:
            return
        ended_ns = time.time_ns()
        asked_after_s = None if self._asked_at is None else total_s - (perf_counter() - self._asked_at)
        ended = Ended(
            self._asker, protocol, *who, outcome, self._rows, stages_s, total_s, ended_ns, self.trace, asked_after_s
        )
        for teller in tellers:
            teller.tell(ended)

    def _forget_inputs(self) -> None:
        if self._inputs is not None:
            self._accounts.drop(self._inputs)
            self._inputs = None


def make_accounts(settings: Settings, twinserve_version: str) -> Accounts | None:
    """What the settings ask for; None when nobody tells of single requests.

    Raises OSError when the access log cannot be opened, or traces cannot be sent as OTEL_… variables want them.
    """
    tellers: list[Teller] = []
    if settings.access_log:
        tellers.append(AccessLog(settings.access_log, settings.access_log_sample))
    if settings.otlp_endpoint:
        # What it imports takes time and memory, which nobody pays who traces nothing.
        from gateway.accounts.spans import Spans

        try:
            tellers.append(Spans(settings.otlp_endpoint, twinserve_version))
        except ValueError as error:  # a variable OTEL_… that the exporter does not understand
            raise OSError(f"no traces can be sent to {settings.otlp_endpoint}: {error}") from error
        log.info("%g of new traces go to %s", settings.trace_sample, settings.otlp_endpoint)
    sampler = Sampler(settings.trace_sample) if settings.otlp_endpoint else None
    return Accounts(tellers, sampler) if tellers else None


Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def kept(accounts: Accounts | None, lifespan: Lifespan) -> Lifespan:
    """An application's lifespan, with what is told of its requests written down from its beginning to its end."""
    if accounts is None:
        return lifespan

    @asynccontextmanager
    async def both(app: FastAPI) -> AsyncIterator[None]:
        accounts.start()
        try:
            async with lifespan(app):
                yield
        finally:
            await accounts.close()

    return both
