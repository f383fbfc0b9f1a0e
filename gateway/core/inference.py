"""The one use case: answer a request. Every dialect ends here.

Rules: a request is accepted once it is valid and a version for it is known; from then on it is answered or failed,
and the ledger says which, whatever happens (accepted = answered + failed). What one engine cannot answer, lost or
overloaded, the other is asked, unless the client named the engine. Knows no protocol and no engine by name.
"""

import asyncio
from collections.abc import Callable

from gateway.core.errors import DeadlineExceeded, EngineRejected, EngineUnreachable, ServingError, Unavailable
from gateway.core.leases import LaneClosed
from gateway.core.messages import InferAnswer, InferRequest
from gateway.core.ports import Events
from gateway.core.router import Lane, Router, VersionRoute

EngineDoubted = Callable[[str], None]
"""Called with an engine's name when it could not be reached, so that routing leaves it out until it is back."""


class Inference:
    """Answers requests through the router's lanes."""

    def __init__(self, router: Router, events: Events, engine_doubted: EngineDoubted) -> None:
        self._router = router
        self._events = events
        self._engine_doubted = engine_doubted

    async def infer(self, request: InferRequest) -> InferAnswer:
        """Answer one request.

        Raises NotFound, InvalidRequest, Overloaded, Unavailable, DeadlineExceeded, EngineFailed, EngineRejected.
        """
        route = self._router.version(request.model, request.version)
        if request.engine is not None:
            self._router.check_engine(request.engine)
        rows = route.signature.check_inputs(request.inputs)
        route.signature.check_requested(request.outputs)

        self._events.accepted(request.model, route.version)
        try:
            answer = await self._try_lanes(request, route, rows)
        except BaseException:
            self._events.failed(request.model, route.version)
            raise
        self._events.answered(request.model, route.version)
        return answer

    async def _try_lanes(self, request: InferRequest, route: VersionRoute, rows: int) -> InferAnswer:
        if asyncio.get_running_loop().time() >= request.deadline:
            raise DeadlineExceeded("the deadline had passed before the request was queued")
        who = f"engine {request.engine} cannot" if request.engine else "no engine can"
        problem: ServingError = Unavailable(f"{who} answer for {request.model} version {route.version} now")
        problem.engine = request.engine or ""
        for lane in self._router.lanes(request.model, route, request.engine):
            try:
                return await self._ask(lane, request, route, rows)
            except LaneClosed:
                continue
            except ServingError as error:
                error.engine = lane.engine
                if isinstance(error, EngineRejected | DeadlineExceeded):
                    raise
                problem = error
                if isinstance(error, EngineUnreachable):
                    self._engine_doubted(lane.engine)
        if isinstance(problem, EngineUnreachable):
            unavailable = Unavailable(f"no engine could be reached: {problem.message}")
            unavailable.engine = problem.engine
            raise unavailable from problem
        raise problem

    async def _ask(self, lane: Lane, request: InferRequest, route: VersionRoute, rows: int) -> InferAnswer:
        with lane.leases.hold():
            served = await lane.batcher.submit(request.inputs, rows, request.deadline)
        outputs = served.outputs
        if request.outputs:
            outputs = {name: outputs[name] for name in request.outputs}
        return InferAnswer(
            model=request.model,
            version=route.version,
            engine=lane.engine,
            outputs=outputs,
            queue_s=served.queue_s,
            upstream_s=served.upstream_s,
        )
