"""The one use case: answer a request. Every dialect ends here.

Rules: the version was chosen before, by whoever decoded the request for it. A request is accepted once it is valid and
its version is there; from then on it is answered or failed, and the ledger says which, whatever happens (accepted =
answered + failed). It holds its version on every engine that may come to answer it. What one engine cannot answer, lost
or overloaded, the other is asked, unless the client named the engine; when no engine is left, it waits a while for one
to come back. Knows no protocol and no engine by name.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from gateway.core.counts import Ledger
from gateway.core.errors import (
    DeadlineExceeded,
    EngineFailed,
    EngineRejected,
    EngineUnreachable,
    NotFound,
    Overloaded,
    ServingError,
    Unavailable,
    VersionLeft,
    VersionLost,
)
from gateway.core.leases import hold_all
from gateway.core.lifecycle import LaneKey
from gateway.core.messages import InferAnswer, InferRequest
from gateway.core.mirror import Mirror
from gateway.core.ports import Events
from gateway.core.router import Lane, Router

Doubt = Callable[[LaneKey, bool], None]
"""Called with who could not answer, and whether the whole engine is in doubt: routing leaves it out till it is back."""

_MOST_ROUNDS = 8
_FAULTS = (EngineFailed, EngineUnreachable, Unavailable, Overloaded, DeadlineExceeded, VersionLeft)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long after the last engine was lost requests still wait for one, and how many may."""

    seconds: float = 10.0
    requests: int = 1024


class Inference:
    """Answers requests through the router's lanes."""

    def __init__(
        self, router: Router, ledger: Ledger, events: Events, doubt: Doubt, patience: Patience, mirror: Mirror
    ) -> None:
        self._router = router
        self._ledger = ledger
        self._events = events
        self._doubt = doubt
        self._patience = patience
        self._mirror = mirror
        self._waiting = 0

    async def infer(self, request: InferRequest) -> InferAnswer:
        """Answer one request.

        Raises NotFound, VersionLeft, InvalidRequest, Overloaded, Unavailable, DeadlineExceeded, EngineFailed,
        EngineRejected.
        """
        if request.engine is not None:
            self._router.check_engine(request.engine)
        route = self._router.version(request.model, request.version)
        rows = route.signature.check_inputs(request.inputs)
        route.signature.check_requested(request.outputs)

        counts = self._ledger.of(request.model, request.version)
        counts.accepted += 1
        self._events.accepted(request.model, request.version)
        started = perf_counter()
        try:
            answer = await self._answer(request, rows)
        except BaseException as error:
            if isinstance(error, ServingError):
                error.version = request.version
            counts.failed += 1
            counts.faults += not isinstance(error, ServingError | asyncio.CancelledError) or isinstance(error, _FAULTS)
            self._events.failed(request.model, request.version)
            raise
        counts.answered += 1
        counts.add_latency(perf_counter() - started)
        self._events.answered(request.model, request.version)
        model = self._router.table.models.get(request.model)
        if model is not None and (current := model.versions.get(request.version)) is not None:
            self._mirror.offer(model, current, request, rows, answer)
        return answer

    async def _answer(self, request: InferRequest, rows: int) -> InferAnswer:
        if asyncio.get_running_loop().time() >= request.deadline:
            raise DeadlineExceeded("the deadline had passed before the request was queued")
        rounds = 0
        while True:
            rounds += 1
            try:
                route = self._router.version(request.model, request.version)
            except NotFound as error:
                raise VersionLeft(error.message) from error
            lanes = tuple(self._router.lanes(request.model, route, request.engine))
            with hold_all(lane.leases for lane in lanes):
                try:
                    return await self._try_lanes(lanes, request, rows)
                except Unavailable:
                    if request.engine is not None or rounds == _MOST_ROUNDS:
                        raise
                    if not await self._engine_returns(request):
                        raise

    async def _engine_returns(self, request: InferRequest) -> bool:
        """Wait for an engine that can answer for the version asked for; False when it is not worth it, or no longer."""
        loop = asyncio.get_running_loop()
        while (since := self._router.empty_since(request.model, request.version)) is not None:
            until = min(request.deadline, since + self._patience.seconds)
            if loop.time() >= until or self._waiting >= self._patience.requests:
                return False
            self._waiting += 1
            try:
                async with asyncio.timeout_at(until):
                    await self._router.wait_changed()
            except TimeoutError:
                return False
            finally:
                self._waiting -= 1
        return True

    async def _try_lanes(self, lanes: tuple[Lane, ...], request: InferRequest, rows: int) -> InferAnswer:
        who = f"engine {request.engine} cannot" if request.engine else "no engine can"
        problem: ServingError = Unavailable(f"{who} answer for {request.model} version {request.version} now")
        problem.engine = request.engine or ""
        has_failed = False
        for lane in lanes:
            if lane.batcher.is_abandoned:
                continue
            try:
                answer = await self._ask(lane, request, rows)
                self._ledger.of(request.model, request.version).rescued += has_failed
                return answer
            except ServingError as error:
                error.engine = lane.engine
                if isinstance(error, EngineRejected | DeadlineExceeded):
                    raise
                problem = error
                has_failed = not isinstance(error, Overloaded)
                if isinstance(error, EngineUnreachable):
                    key = LaneKey(lane.engine, request.model, request.version)
                    self._doubt(key, not isinstance(error, VersionLost))
        if isinstance(problem, EngineUnreachable):
            unavailable = Unavailable(f"no engine could be reached: {problem.message}")
            unavailable.engine = problem.engine
            raise unavailable from problem
        raise problem

    async def _ask(self, lane: Lane, request: InferRequest, rows: int) -> InferAnswer:
        served = await lane.batcher.submit(request.inputs, rows, request.deadline)
        outputs = served.outputs
        if request.outputs:
            outputs = {name: outputs[name] for name in request.outputs}
        return InferAnswer(
            model=request.model,
            version=request.version,
            engine=lane.engine,
            outputs=outputs,
            queue_s=served.queue_s,
            upstream_s=served.upstream_s,
        )
