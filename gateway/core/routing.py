"""What this gateway process routes to, as it follows from the repository and from what the endpoints have.

Rules: every change makes one new table, assigned at once. What this process uses is told to the others before it is
used, and the repository read once more in between: whoever unloads reads both the other way round. Must not know how
endpoints are looked at, nor what anybody asks of them.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping

from gateway.core.counts import Ledger
from gateway.core.endpoints import Endpoints
from gateway.core.lanes import Lanes
from gateway.core.lifecycle import LaneKey, States, engines_up, is_live_as, is_live_everywhere
from gateway.core.ports import PeerReport, Peers, Repository, Using, VersionState, engine_of
from gateway.core.published import PublishedModel
from gateway.core.readiness import Readiness, can_answer_all
from gateway.core.router import Router, RoutingTable
from gateway.core.routes import Snapshot, expired_claims, lanes_in, plan_lanes, plan_routes, with_lanes

_ON_THE_WAY = (VersionState.LOADING, VersionState.WARMING)


class Routing:
    """Owns the routing table. `models` is the repository as last read, `observed` what each endpoint that takes part
    in routing holds; whoever changes that calls `assign_table`.
    """

    def __init__(
        self, endpoints: Endpoints, repository: Repository, peers: Peers, router: Router, lanes: Lanes, ledger: Ledger
    ) -> None:
        self.models: Mapping[str, PublishedModel] = {}
        self.observed: dict[str, States] = {}
        self._endpoints = endpoints
        self._repository = repository
        self._peers = peers
        self._router = router
        self._lanes = lanes
        self._ledger = ledger
        self._routed_models: Mapping[str, PublishedModel] = {}
        self._expired: frozenset[str] = frozenset()
        self._readiness = Readiness()

    @property
    def snapshot(self) -> Snapshot:
        """All that routing follows from, as it is now."""
        return Snapshot(tuple(self._endpoints), self.models, self.observed, self._answering, self._expired)

    @property
    def using(self) -> Using:
        """What this process routes to or holds requests on; of endpoints that are gone, too, until those have ended."""
        routed = self.lanes
        return {
            name: frozenset((key.model, key.version) for key in routed if key.endpoint == name) | self._lanes.held(name)
            for name in {*self._endpoints, *self._lanes.endpoints_held}
        }

    @property
    def lanes(self) -> frozenset[LaneKey]:
        """The lanes that requests are sent to."""
        return lanes_in(self._router.table.models)

    @property
    def is_ready(self) -> bool:
        """First true when every engine has every live version, or those that gateways which were ready have it on; from
        then on while any engine can answer.
        """
        return self._readiness.is_ready(self._router.table.models)

    @property
    def can_answer(self) -> bool:
        """Whether every model's live version has an engine (and there is a model at all)."""
        return can_answer_all(self._router.table.models)

    async def wait_ready(self, timeout_s: float) -> None:
        """Return once it is ready, or `timeout_s` after some engine could answer, or as long after none could."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s) as patience:
                while not self.can_answer:
                    await self._router.wait_changed()
                patience.reschedule(asyncio.get_running_loop().time() + timeout_s)
                while not self.is_ready:
                    await self._router.wait_changed()

    def read_repository(self) -> bool:
        """Read the repository; a change is followed in the table at once. Returns whether there was one."""
        self.models = self._repository.scan()
        expired = expired_claims(self.models, time.time())
        has_changed = self.models != self._routed_models or expired != self._expired
        if has_changed:
            self._expired = expired
            self.assign_table()
        elif not self._readiness.was_ready and self._is_as_complete_as_others():
            self.assign_table()  # the same, for whoever waits for readiness
        self._tell(self.using)
        return has_changed

    def assign_table(self, is_lost: Callable[[LaneKey], bool] = lambda _: False) -> None:
        """Replace the table by what follows from everything known now; nobody can wait in a lane that `is_lost`."""
        told = self.lanes
        while not (wished := plan_lanes(self.snapshot)) <= told:
            # Said before it is done, and the repository read once more: see the rules above.
            told |= wished
            self._tell(with_lanes(self.using, told))
            self.models = self._repository.scan()
        routes = plan_routes(self.snapshot, self._lanes.get)
        loading = frozenset(name for name, states in self.observed.items() if is_loading(states))
        at_pace = frozenset(engine_of(name) for name in self.observed if name not in loading)
        engines = self._endpoints.engines
        table = RoutingTable(engines, routes, loading, frozenset(map(engine_of, loading)) - at_pace)
        self._router.assign(table, asyncio.get_running_loop().time())
        self._routed_models = self.models
        self._lanes.keep_only(lanes_in(routes), is_lost)
        self._tell(self.using)
        self._note_readiness()

    def _note_readiness(self) -> None:
        is_whole = engines_up(self.observed) == set(self._endpoints.engines)
        is_complete = is_whole and is_live_everywhere(self.models, self.observed)
        if not is_complete and not self._readiness.was_ready:
            is_complete = self._is_as_complete_as_others()
        self._readiness.note(self._router.table.models, is_complete)

    def _is_as_complete_as_others(self) -> bool:
        """Whether this process answers with all that others which were ready answer with: an engine may be away."""
        ready = [report.using for report in self._peers.others().values() if report.was_ready]
        return bool(ready) and all(is_live_as(using, self.models, self.observed) for using in ready)

    @property
    def _answering(self) -> Mapping[str, int]:
        return {name: route.live for name, route in self._router.table.models.items()}

    def _tell(self, using: Using) -> None:
        usages, was_ready = self._ledger.usage.usages, self._readiness.was_ready
        self._peers.tell(PeerReport(using, self._ledger.counts, self._answering, usages, was_ready))


def is_loading(states: States) -> bool:
    """Whether an endpoint is at work on a version."""
    return any(seen.state in _ON_THE_WAY for seen in states.values())
