"""The one use case: answer a request. Every dialect ends here.

Rules: the version was chosen before, by whoever decoded the request for it. A request is accepted once it is valid and
its version is there; what becomes of it then is gateway.core.flight's. Knows no protocol and no engine by name.
"""

import asyncio
from dataclasses import dataclass

from gateway.core.counts import Ledger
from gateway.core.errors import ServingError
from gateway.core.flight import Doubt, Flight, Means, Then
from gateway.core.messages import InferAnswer, InferRequest
from gateway.core.mirror import Mirror
from gateway.core.ports import Events
from gateway.core.router import Router, VersionRoute


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
        self._patience = patience
        self._mirror = mirror
        self._means = Means(router, ledger, events, doubt, self._offer_copy, self._let_wait)
        self._waiting = 0
        self._waits: set[asyncio.Task[None]] = set()

    async def infer(self, request: InferRequest) -> InferAnswer:
        """Answer one request.

        Raises NotFound, VersionLeft, InvalidRequest, Overloaded, Unavailable, DeadlineExceeded, EngineFailed,
        EngineRejected.
        """
        future: asyncio.Future[InferAnswer] = asyncio.get_running_loop().create_future()

        def then(outcome: InferAnswer | ServingError) -> None:
            if future.done():
                return
            if isinstance(outcome, InferAnswer):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)

        flight = self.begin(request, then)
        try:
            return await future
        finally:
            flight.cancel()

    def begin(self, request: InferRequest, then: Then, route: VersionRoute | None = None) -> Flight:
        """The same for whoever does not wait. `then` may be called before this returns.

        `route` is the version's, for whoever has just looked it up.

        Raises NotFound, InvalidRequest: for what is not even accepted.
        """
        if request.engine is not None:
            self._router.check_engine(request.engine)
        if route is None:
            route = self._router.version(request.model, request.version)
        rows = route.signature.check_inputs(request.inputs)
        route.signature.check_requested(request.outputs)
        flight = Flight(self._means, request, rows, then)
        flight.start(route)
        return flight

    def _offer_copy(self, request: InferRequest, rows: int, answer: InferAnswer) -> None:
        model = self._router.table.models.get(request.model)
        if model is not None and (current := model.versions.get(request.version)) is not None:
            self._mirror.offer(model, current, request, rows, answer)

    def _let_wait(self, flight: Flight) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._wait_for_engine(flight))
        self._waits.add(task)
        task.add_done_callback(self._waits.discard)
        return task

    async def _wait_for_engine(self, flight: Flight) -> None:
        flight.go_on(await self._engine_returns(flight.request))

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
