"""Keeps every engine at what the repository says, and the routing table at what the engines have.

Rules: observe, decide (lifecycle and routes, pure), then do. One task an engine, so that a slow engine delays nobody
else, and one for the repository. Only the leading gateway process tells engines what to hold; every one observes. What
this process uses is told to the others before it is used, and what is to be unloaded leaves every table before the
engine is told. A version enters the table once it has answered its golden inputs; an engine that was lost, once its
live ones have. Must not know why a version is wished for, nor what anybody asks of it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gateway.core.batcher import BatchLimits
from gateway.core.counts import Ledger
from gateway.core.errors import EngineError
from gateway.core.lanes import Lanes
from gateway.core.lifecycle import Desired, LaneKey, States, is_live_everywhere
from gateway.core.orders import Orders
from gateway.core.ports import Engine, Events, Observed, PeerReport, Peers, Repository, Using, VersionState
from gateway.core.published import PublishedModel
from gateway.core.readiness import Readiness, can_answer_all
from gateway.core.router import Router, RoutingTable
from gateway.core.routes import (
    Snapshot,
    expired_claims,
    lanes_in,
    plan_lanes,
    plan_resident_on,
    plan_routes,
    with_lanes,
)
from gateway.core.sightings import Sightings
from gateway.core.trials import TrialLimits, Trials
from gateway.core.warmup import Manner, WarmupLimits, Warmups

log = logging.getLogger(__name__)

_UNSETTLED = (VersionState.LOADING, VersionState.WARMING)
_WARMUP_MOMENT_S = 0.25


@dataclass(frozen=True, slots=True)
class KeeperLimits:
    """How often repository and engines are looked at (seconds), and the bounds of trials, warm-ups and batchers.

    An engine is looked at every `busy_interval_s` while something on it is loading or it is on its way back. For
    `turn_s` at most it waits for another to load first.
    """

    repository_interval_s: float = 0.25
    probe_interval_s: float = 1.0
    busy_interval_s: float = 0.1
    turn_s: float = 5.0
    trial: TrialLimits = field(default_factory=TrialLimits)
    warmup: WarmupLimits = field(default_factory=WarmupLimits)
    batch: BatchLimits = field(default_factory=BatchLimits)


class Keeper:
    """Owns the routing table, the lanes in it, and the tasks that follow the engines."""

    def __init__(
        self,
        engines: Iterable[Engine],
        repository: Repository,
        peers: Peers,
        router: Router,
        events: Events,
        limits: KeeperLimits,
        ledger: Ledger,
    ) -> None:
        self._engines = {engine.name: engine for engine in engines}
        self._repository = repository
        self._peers = peers
        self._router = router
        self._limits = limits
        self._ledger = ledger
        self._lanes = Lanes(self._engines, limits.batch, events)
        self._warmups = Warmups(repository, limits.warmup)
        self._trials = Trials(self._lanes, limits.trial)
        self._sightings = Sightings(events)
        self._models: Mapping[str, PublishedModel] = {}
        self._routed_models: Mapping[str, PublishedModel] = {}
        self._observed: dict[str, States] = {}
        self._orders = Orders(repository, peers, self._lanes, limits.turn_s)
        self._wakes = {name: asyncio.Event() for name in self._engines}
        self._complaints: dict[str, str] = {}
        self._rounds = dict.fromkeys(self._engines, 0)
        self._expired: frozenset[str] = frozenset()
        self._readiness = Readiness()

    @property
    def engines(self) -> tuple[Engine, ...]:
        return tuple(self._engines.values())

    @property
    def models(self) -> Mapping[str, PublishedModel]:
        """The repository as last read."""
        return self._models

    @property
    def observed(self) -> Mapping[str, States]:
        """What each engine that takes part in routing holds, by engine name, then (model, version)."""
        return self._observed

    @property
    def using(self) -> Using:
        """What this process routes to or holds requests on."""
        routed = lanes_in(self._router.table.models)
        return {
            name: frozenset((key.model, key.version) for key in routed if key.engine == name) | self._lanes.held(name)
            for name in self._engines
        }

    @property
    def is_ready(self) -> bool:
        """First true when every engine has every live version; from then on while any engine can answer."""
        return self._readiness.is_ready(self._router.table.models)

    def rounds(self, engine: str) -> int:
        """How many times this engine was looked at to the end."""
        return self._rounds[engine]

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

    def doubt(self, key: LaneKey, is_whole_engine: bool) -> None:
        """Leave an engine, or one version on it, out of routing until it was observed again."""
        if key.engine not in self._observed:
            return
        if is_whole_engine:
            self._lose(key.engine, "it could not be reached")
        elif (key.model, key.version) in self._observed[key.engine]:
            log.warning("%s version %d on %s is left out of routing", key.model, key.version, key.engine)
            states = dict(self._observed[key.engine])
            states.pop((key.model, key.version))
            self._observed[key.engine] = states
            self._warmups.forget(key)
            self._sightings.tell_gone(key)
            self._assign_table(is_lost=lambda lane: lane == key)
            self._wakes[key.engine].set()

    async def run(self) -> None:
        """Follow the repository and the engines until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_repository())
            for engine in self._engines.values():
                tasks.create_task(self._follow(engine))

    async def close(self) -> None:
        """Let the batches that are out return, then give the engines back."""
        await self._warmups.close()
        await self._lanes.close()
        for engine in self._engines.values():
            await engine.close()

    async def _follow_repository(self) -> None:
        while True:
            self.look_at_repository()
            await asyncio.sleep(self._limits.repository_interval_s)

    async def _follow(self, engine: Engine) -> None:
        wake = self._wakes[engine.name]
        while True:
            wake.clear()
            await self.look_at(engine)
            is_behind = self._orders.are_open(engine.name) or _is_loading(self._observed.get(engine.name, {}))
            is_busy = is_behind or self._owes(engine.name) or self._trials.is_on(engine.name)
            try:
                interval_s = self._limits.busy_interval_s if is_busy else self._limits.probe_interval_s
                async with asyncio.timeout(interval_s):
                    await wake.wait()
            except TimeoutError:
                continue

    def _owes(self, engine: str) -> bool:
        """Whether an engine that is up lacks a version, which whoever leads may be making it load."""
        states = self._observed.get(engine)
        resident = plan_resident_on(self._snapshot, engine)
        return states is not None and any((m, v) not in states for m, versions in resident.items() for v in versions)

    def look_at_repository(self) -> None:
        """Read the repository; a change is followed in routing at once, and the engines are looked at."""
        self._models = self._repository.scan()
        expired = expired_claims(self._models, time.time())
        if self._models != self._routed_models or expired != self._expired:
            self._expired = expired
            self._assign_table()
            for wake in self._wakes.values():
                wake.set()
        self._tell(self.using)

    def _tell(self, using: Using) -> None:
        self._peers.tell(PeerReport(using, self._ledger.counts, self._answering, self._ledger.usage.usages))

    async def look_at(self, engine: Engine) -> None:
        """One round: read the repository, observe the engine, tell it what to hold, renew the table."""
        self.look_at_repository()
        try:
            held = await self._orders.give(
                engine, lambda: self._snapshot, lambda desired: self._prepare(engine.name, desired)
            )
            observed = await self._judge(engine, held)
            may_return = await self._trials.may_take_part(engine, self._models, observed)
        except EngineError as error:
            if self._complaints.get(engine.name) != error.message:  # said once, not in every round
                self._complaints[engine.name] = error.message
                log.info("engine %s: %s", engine.name, error.message)
            self._lose(engine.name, error.message)
            return
        self._complaints.pop(engine.name, None)
        self._rounds[engine.name] += 1
        self._sightings.tell(engine, observed)
        if may_return and observed != self._observed.get(engine.name):
            self._observed[engine.name] = observed
            self._assign_table()
            for name in filter(self._orders.is_waiting, self._wakes):
                self._wakes[name].set()

    def _prepare(self, engine: str, desired: Desired) -> None:
        """What will be unloaded is gone already, whoever wishes for it from now on; what is missing is loading."""
        if engine in self._observed:
            states = self._observed[engine]
            self._observed[engine] = {
                (model, version): states.get((model, version), Observed(VersionState.LOADING))
                for model, versions in desired.items()
                for version in versions
            }
            self._assign_table()

    async def _judge(self, engine: Engine, held: States) -> States:
        """What this process thinks of each version: warmed and right, or not, and what is damaged."""
        self._warmups.keep_only(engine.name, frozenset(k for k, s in held.items() if s.state is VersionState.READY))
        resident = plan_resident_on(self._snapshot, engine.name)
        ready = [
            key
            for key, seen in held.items()
            if seen.state is VersionState.READY and key[1] in resident.get(key[0], ()) and key[0] in self._models
        ]
        for key in ready:
            self._warm(engine, key)
        await self._warmups.settle(engine.name, _WARMUP_MOMENT_S)
        judged = {key: seen for key in ready if (seen := self._warm(engine, key)) is not None}
        return {**self._orders.damaged, **held, **judged}

    def _warm(self, engine: Engine, key: tuple[str, int]) -> Observed | None:
        """None for what has just left the repository."""
        model = self._models.get(key[0])
        published = model.versions.get(key[1]) if model else None
        if published is None:
            return None
        has_clients = any(lane.engine == engine.name for lane in lanes_in(self._router.table.models))
        manner = Manner(is_gentle=has_clients, is_brief=not self._orders.leads(engine))
        return self._warmups.state(engine, *key, published.signature, manner)

    def _lose(self, engine: str, reason: str) -> None:
        self._sightings.tell_down(self._engines[engine])
        self._warmups.keep_only(engine, frozenset())
        if self._observed.pop(engine, None) is None:
            return
        log.warning("engine %s is left out of routing: %s", engine, reason)
        self._trials.begin(engine)
        self._assign_table(is_lost=lambda lane: lane.engine == engine)
        self._wakes[engine].set()

    @property
    def _answering(self) -> Mapping[str, int]:
        return {name: route.live for name, route in self._router.table.models.items()}

    @property
    def _snapshot(self) -> Snapshot:
        return Snapshot(tuple(self._engines), self._models, self._observed, self._answering, self._expired)

    def _assign_table(self, is_lost: Callable[[LaneKey], bool] = lambda _: False) -> None:
        told = lanes_in(self._router.table.models)
        while not (wished := plan_lanes(self._snapshot)) <= told:
            # Said before it is done, and the repository read once more: whoever unloads reads both the other way round.
            told |= wished
            self._tell(with_lanes(self.using, told))
            self._models = self._repository.scan()
        routes = plan_routes(self._snapshot, self._lanes.get)
        loading = frozenset(name for name, states in self._observed.items() if _is_loading(states))
        self._router.assign(RoutingTable(tuple(self._engines), routes, loading), asyncio.get_running_loop().time())
        self._routed_models = self._models
        self._lanes.keep_only(lanes_in(routes), is_lost)
        self._tell(self.using)
        is_whole = set(self._observed) == set(self._engines)
        self._readiness.note(routes, is_whole and is_live_everywhere(self._models, self._observed))


def _is_loading(states: States) -> bool:
    return any(seen.state in _UNSETTLED for seen in states.values())
