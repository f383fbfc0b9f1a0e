"""One accepted request on its way to an answer.

Rules: from `start` on it is answered, failed or cancelled, once, and the ledger says which, whatever happens. It holds
its version on every endpoint that may come to answer it. What one endpoint cannot answer, lost or overloaded, the next
is asked, of the other engine too unless the client named one; when none is left, it waits a while for one to come back.
All that it does between is done at once, so that a request that waits for nothing but its batch needs no task of its
own. Knows no protocol and no engine by name.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import ParamSpec

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
from gateway.core.lifecycle import LaneKey
from gateway.core.messages import InferAnswer, InferRequest
from gateway.core.ports import Events
from gateway.core.router import Lane, Router, VersionRoute
from gateway.core.ticket import Served, Ticket

Doubt = Callable[[LaneKey, bool], None]
"""Called with who could not answer, and whether the whole endpoint is in doubt: routing leaves it out for a while."""

log = logging.getLogger(__name__)

P = ParamSpec("P")
Then = Callable[[InferAnswer | ServingError], None]
"""Called once, in the event loop, with what came of a request; it must not raise."""

_MOST_ROUNDS = 8
_FAULTS = (EngineFailed, EngineUnreachable, Unavailable, Overloaded, DeadlineExceeded, VersionLeft)


@dataclass(frozen=True, slots=True)
class Means:
    """What flights have in common. `wait_for_engine` calls `go_on` later, `mirror` looks at what was answered."""

    router: Router
    ledger: Ledger
    events: Events
    doubt: Doubt
    mirror: Callable[[InferRequest, int, InferAnswer], None]
    wait_for_engine: Callable[["Flight"], asyncio.Task[None]]


class Flight:
    """Asks lane after lane, in rounds."""

    __slots__ = (
        "_counts", "_is_over", "_lane", "_lanes", "_left", "_means", "_problem", "_rescues", "_rounds", "_rows",
        "_started", "_then", "_ticket", "_wait", "request",
    )  # fmt: skip

    def __init__(self, means: Means, request: InferRequest, rows: int, then: Then) -> None:
        self.request = request
        self._means = means
        self._rows = rows
        self._then = then
        self._counts = means.ledger.of(request.model, request.version)
        self._started = perf_counter()
        self._is_over = False
        self._rounds = 0
        self._lanes: tuple[Lane, ...] = ()
        self._left = 0
        self._lane: Lane | None = None
        self._ticket: Ticket | None = None
        self._wait: asyncio.Task[None] | None = None
        self._problem: ServingError | None = None
        self._rescues = False

    def start(self, route: VersionRoute) -> None:
        """Accept it and ask the first lane of its version's route."""
        self._counts.accepted += 1
        self._means.events.accepted(self.request.model, self.request.version)
        if monotonic() >= self.request.deadline:
            self.end(DeadlineExceeded("the deadline had passed before the request was queued"))
        else:
            self._guard(self._begin_round, route)

    def go_on(self, has_engine: bool) -> None:
        """After a wait: another round, or the problem that it waited with."""
        self._wait = None
        if has_engine:
            self._guard(self._look_again)
        elif self._problem is not None:
            self.end(self._problem)

    def cancel(self) -> None:
        """Nobody waits for the answer any more. Idempotent, and nothing once it has ended."""
        if self._is_over:
            return
        if self._ticket is not None and self._lane is not None:
            self._lane.batcher.withdraw(self._ticket)
        if self._wait is not None:
            self._wait.cancel()
        self._close(is_fault=False)

    def end(self, error: ServingError) -> None:
        """Fail it."""
        if self._is_over:
            return
        error.version = self.request.version
        self._close(is_fault=isinstance(error, _FAULTS))
        self._then(error)

    def _close(self, is_fault: bool) -> None:
        self._is_over = True
        self._hold(())
        self._counts.failed += 1
        self._counts.faults += is_fault
        self._means.events.failed(self.request.model, self.request.version)

    def _guard(self, step: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """A bug must not leave an accepted request uncounted, nor anybody waiting for its answer."""
        try:
            step(*args, **kwargs)
        except Exception:
            log.exception("a bug ended a request for %s", self.request.model)
            self.end(EngineFailed("internal error; see the gateway's log"))

    def _look_again(self) -> None:
        try:
            route = self._means.router.version(self.request.model, self.request.version)
        except NotFound as error:
            self.end(VersionLeft(error.message))
            return
        self._begin_round(route)

    def _begin_round(self, route: VersionRoute) -> None:
        self._rounds += 1
        try:
            lanes = self._means.router.lanes(self.request.model, route, self.request.engine)
        except ServingError as error:
            self.end(error)
            return
        self._hold(lanes)
        self._left = 0
        self._problem = None
        self._rescues = False
        self._ask_next()

    def _hold(self, lanes: tuple[Lane, ...]) -> None:
        """Hold the version on these endpoints, and no longer on those before."""
        for lane in lanes:
            lane.leases.take()
        for lane in self._lanes:
            lane.leases.give_back()
        self._lanes = lanes

    def _ask_next(self) -> None:
        request = self.request
        while self._left < len(self._lanes):
            lane = self._lane = self._lanes[self._left]
            self._left += 1
            if lane.batcher.is_abandoned:
                continue
            try:
                self._ticket = lane.batcher.send(request.inputs, self._rows, request.deadline, self._take_reply)
                return
            except ServingError as error:
                if self._is_final(lane, error):
                    self.end(error)
                    return
        self._end_round()

    def _take_reply(self, outcome: Served | ServingError) -> None:
        lane = self._lane
        if lane is None or self._is_over:
            return
        self._ticket = None
        self._guard(self._go_on_after, lane, outcome)

    def _go_on_after(self, lane: Lane, outcome: Served | ServingError) -> None:
        if isinstance(outcome, Served):
            self._answer(lane, outcome)
        elif self._is_final(lane, outcome):
            self.end(outcome)
        else:
            self._ask_next()

    def _is_final(self, lane: Lane, error: ServingError) -> bool:
        """Whether nobody else is worth asking after this; remembers what was wrong with this one."""
        error.engine = lane.engine
        if isinstance(error, EngineRejected | DeadlineExceeded):
            return True
        self._problem = error
        self._rescues = not isinstance(error, Overloaded)
        if isinstance(error, EngineUnreachable):
            key = LaneKey(lane.endpoint, self.request.model, self.request.version)
            self._means.doubt(key, not isinstance(error, VersionLost))
        return False

    def _end_round(self) -> None:
        """No lane is left. Somebody may come back to one that could not be reached."""
        request, problem = self.request, self._problem
        if problem is None:
            who = f"engine {request.engine} cannot" if request.engine else "no engine can"
            problem = Unavailable(f"{who} answer for {request.model} version {request.version} now")
            problem.engine = request.engine or ""
        elif isinstance(problem, EngineUnreachable):
            unavailable = Unavailable(f"no engine could be reached: {problem.message}")
            unavailable.engine = problem.engine
            unavailable.__cause__ = problem
            problem = unavailable
        if isinstance(problem, Unavailable) and request.engine is None and self._rounds < _MOST_ROUNDS:
            self._problem = problem
            self._wait = self._means.wait_for_engine(self)
        else:
            self.end(problem)

    def _answer(self, lane: Lane, served: Served) -> None:
        request, means = self.request, self._means
        outputs = served.outputs
        if request.outputs:
            outputs = {name: outputs[name] for name in request.outputs}
        answer = InferAnswer(request.model, request.version, lane.engine, outputs, served.queue_s, served.upstream_s)
        self._is_over = True
        self._hold(())
        self._counts.rescued += self._rescues
        self._counts.answered += 1
        self._counts.add_latency(perf_counter() - self._started)
        means.events.answered(request.model, request.version)
        means.mirror(request, self._rows, answer)
        self._then(answer)
