"""Keeps every endpoint at what the repository says, and routing at what the endpoints have.

Rules: observe, decide (lifecycle and routes, pure), then do. One task an endpoint, so that a slow one delays nobody
else, and one for the repository. Only the leading gateway process tells an endpoint what to hold; every one observes.
What is to be unloaded leaves every table before the endpoint is told. A version enters the table once it has answered
its golden inputs; an endpoint that was lost, or came later than others, once its live ones have. Endpoints come and go:
one that went answers what it was asked. Must not know why a version is wished for, nor what anybody asks of it.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from gateway.core.batcher import BatchLimits
from gateway.core.counts import Ledger
from gateway.core.endpoints import Endpoints, Member
from gateway.core.errors import EngineError
from gateway.core.lanes import Lanes
from gateway.core.lifecycle import Desired, LaneKey, States
from gateway.core.orders import Orders
from gateway.core.ports import Engine, Events, Observed, Peers, Repository, Using, VersionState, engine_of
from gateway.core.published import PublishedModel
from gateway.core.router import Router
from gateway.core.routes import plan_resident_on
from gateway.core.routing import Routing, is_loading
from gateway.core.sightings import Sightings
from gateway.core.tensors import Signature
from gateway.core.trials import TrialLimits, Trials
from gateway.core.warmup import Manner, WarmupLimits, Warmups

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeeperLimits:
    """How often repository and endpoints are looked at (seconds), and the bounds of trials, warm-ups and batchers.

    An endpoint is looked at every `busy_interval_s` while something on it is loading or it is on its way back. For
    `turn_s` at most it waits for each that loads before it. When it is back its share grows for `slow_start_s`.
    """

    repository_interval_s: float = 0.25
    probe_interval_s: float = 1.0
    busy_interval_s: float = 0.1
    turn_s: float = 5.0
    slow_start_s: float = 10.0
    trial: TrialLimits = field(default_factory=TrialLimits)
    warmup: WarmupLimits = field(default_factory=WarmupLimits)
    batch: BatchLimits = field(default_factory=BatchLimits)


class Keeper:
    """Owns the endpoints and their tasks. `engines` has one of each engine at least; more may come and go."""

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
        self._limits = limits
        self._endpoints = Endpoints(engines)
        self._lanes = Lanes(self._endpoints, limits.batch, events)
        self._routing = Routing(self._endpoints, repository, peers, router, self._lanes, ledger)
        self._orders = Orders(repository, peers, self._lanes, limits.turn_s)
        self._warmups = Warmups(repository, limits.warmup)
        self._trials = Trials(self._lanes, limits.trial)
        self._sightings = Sightings(events)
        self._were_up: set[str] = set()
        self._leaving: set[Member] = set()
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def engines(self) -> tuple[str, ...]:
        """The names of all engines."""
        return self._endpoints.engines

    def endpoints(self, engine: str) -> tuple[Engine, ...]:
        """The endpoints of an engine, one at least."""
        return tuple(self._endpoints[name].engine for name in self._endpoints.of(engine))

    @property
    def models(self) -> Mapping[str, PublishedModel]:
        """The repository as last read."""
        return self._routing.models

    @property
    def observed(self) -> Mapping[str, States]:
        """What each endpoint that takes part in routing holds, by the endpoint's name, then (model, version)."""
        return self._routing.observed

    @property
    def using(self) -> Using:
        """What this process routes to or holds requests on."""
        return self._routing.using

    @property
    def is_ready(self) -> bool:
        """See gateway.core.readiness."""
        return self._routing.is_ready

    async def wait_ready(self, timeout_s: float) -> None:
        """Return once it is ready, or `timeout_s` after some engine could answer, or as long after none could."""
        await self._routing.wait_ready(timeout_s)

    def rounds(self, endpoint: str) -> int:
        """How many times this endpoint was looked at to the end; 0 when there is none such."""
        member = self._endpoints.get(endpoint)
        return 0 if member is None else member.rounds

    def outstanding_rows(self, endpoint: str) -> int:
        """Rows that wait in this process for an endpoint, or for its answer."""
        return self._lanes.outstanding_rows(endpoint)

    def knows(self, endpoint: str) -> bool:
        """Whether there is an endpoint of this name."""
        return endpoint in self._endpoints

    def doubt(self, key: LaneKey, is_whole_endpoint: bool) -> None:
        """Leave an endpoint, or one version on it, out of routing until it was observed again."""
        observed = self._routing.observed
        if key.endpoint not in observed:
            return
        if is_whole_endpoint:
            self._lose(self._endpoints[key.endpoint], "it could not be reached")
        elif (key.model, key.version) in observed[key.endpoint]:
            log.warning("%s version %d on %s is left out of routing", key.model, key.version, key.endpoint)
            states = dict(observed[key.endpoint])
            states.pop((key.model, key.version))
            observed[key.endpoint] = states
            self._warmups.forget(key)
            self._sightings.tell_gone(key)
            self._routing.assign_table(is_lost=lambda lane: lane == key)
            self._endpoints[key.endpoint].wake.set()

    def join(self, engine: Engine) -> None:
        """There is one more endpoint. Raises ValueError when there is one of its name, or no such engine."""
        member = self._endpoints.add(engine)
        log.info("endpoint %s has come", engine.endpoint)
        if engine.name in self._were_up:
            self._trials.begin(engine.endpoint)
        self._begin_to_follow(member)

    def leave(self, endpoint: str) -> None:
        """An endpoint is not there any more: nobody new is sent to it, and once it owes no answer it is closed.

        The engine must have another one. Raises KeyError when there is no such endpoint.
        """
        member = self._endpoints.remove(endpoint)
        log.info("endpoint %s has gone", endpoint)
        self._leaving.add(member)
        self._forget(member)
        self._sightings.tell_left(member.engine)
        if self._routing.observed.pop(endpoint, None) is not None:
            self._routing.assign_table()
        member.wake.set()

    async def run(self) -> None:
        """Follow the repository and the endpoints until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._follow_repository())
            for member in self._endpoints.values():
                self._begin_to_follow(member)

    async def close(self) -> None:
        """Let the batches that are out return, then give the engines back."""
        await self._warmups.close()
        await self._lanes.close()
        for member in (*self._endpoints.values(), *self._leaving):
            await member.close()

    def _begin_to_follow(self, member: Member) -> None:
        if self._tasks is not None:
            self._tasks.create_task(self._follow(member))

    async def _follow_repository(self) -> None:
        while True:
            self.look_at_repository()
            await asyncio.sleep(self._limits.repository_interval_s)

    async def _follow(self, member: Member) -> None:
        while self._endpoints.has(member):
            member.wake.clear()
            await self.look_at(member.engine)
            try:
                async with asyncio.timeout(self._interval_s(member.engine.endpoint)):
                    await member.wake.wait()
            except TimeoutError:
                continue
        await self._see_off(member)

    def _interval_s(self, endpoint: str) -> float:
        is_behind = (
            self._orders.are_open(endpoint) or is_loading(self.observed.get(endpoint, {})) or self._owes(endpoint)
        )
        is_busy = is_behind or self._trials.is_on(endpoint)
        return self._limits.busy_interval_s if is_busy else self._limits.probe_interval_s

    def _owes(self, endpoint: str) -> bool:
        """Whether an endpoint that is up lacks a version, which whoever leads may be making it load."""
        states = self.observed.get(endpoint)
        resident = plan_resident_on(self._routing.snapshot, endpoint)
        return states is not None and any((m, v) not in states for m, versions in resident.items() for v in versions)

    async def _see_off(self, member: Member) -> None:
        """Wait until what an endpoint was asked before it left is answered, or it is silent; then close it."""
        endpoint = member.engine.endpoint
        if not self.knows(endpoint):
            self._forget(member)  # once more: it may have been looked at while it left
        while self._lanes.is_draining(endpoint):
            if self._lanes.longest_silence_s(endpoint) > self._limits.trial.silence_s:
                self._routing.assign_table(is_lost=lambda lane: lane.endpoint == endpoint)
            await asyncio.sleep(self._limits.busy_interval_s)
        self._leaving.discard(member)
        await member.close()

    def _forget(self, member: Member) -> None:
        endpoint = member.engine.endpoint
        self._warmups.keep_only(endpoint, frozenset())
        self._trials.forget(endpoint)
        self._orders.forget(member.engine)
        self._lanes.forget(endpoint)

    def look_at_repository(self) -> None:
        """Read the repository; a change is followed in routing at once, and the endpoints are looked at."""
        if self._routing.read_repository():
            for member in self._endpoints.values():
                member.wake.set()

    async def look_at(self, engine: Engine) -> None:
        """One round: read the repository, observe the endpoint, tell it what to hold, renew the table."""
        endpoint = engine.endpoint
        member = self._endpoints[endpoint]
        self.look_at_repository()
        try:
            prepare = partial(self._prepare, endpoint)
            held = await self._orders.give(engine, lambda: self._routing.snapshot, prepare)
            has_clients = any(lane.endpoint == endpoint for lane in self._routing.lanes)
            manner = Manner(is_gentle=has_clients, is_brief=not self._orders.leads(engine))
            find_signature = partial(self._signature, endpoint)
            judged = await self._warmups.judge(engine, held, find_signature, manner)
            observed = {**self._orders.damaged(endpoint), **judged}
            is_back = self._trials.is_on(endpoint)
            may_take_part = await self._trials.may_take_part(engine, self.models, observed)
        except EngineError as error:
            if self._endpoints.has(member):
                if member.complaint != error.message:  # said once, not in every round
                    member.complaint = error.message
                    log.info("endpoint %s: %s", endpoint, error.message)
                self._lose(member, error.message)
            return
        if not self._endpoints.has(member):
            return  # it left meanwhile
        member.complaint = ""
        member.rounds += 1
        self._sightings.tell(engine, observed)
        if may_take_part and observed != self.observed.get(endpoint):
            if is_back and any(engine_of(other) == engine.name for other in self.observed):
                self._lanes.begin_slowly(endpoint, self._limits.slow_start_s)
            self._were_up.add(engine.name)
            self._routing.observed[endpoint] = observed
            self._routing.assign_table()
            for name in filter(self._orders.is_waiting, self._endpoints):
                self._endpoints[name].wake.set()

    def _prepare(self, endpoint: str, desired: Desired) -> None:
        """What will be unloaded is unloading already, whoever wishes for it from now on; what is missing is loading."""
        states = self.observed.get(endpoint)
        if states is not None:
            wanted = {(model, version) for model, versions in desired.items() for version in versions}
            self._routing.observed[endpoint] = {
                **{key: Observed(VersionState.UNLOADING) for key in states if key not in wanted},
                **{key: states.get(key, Observed(VersionState.LOADING)) for key in wanted},
            }
            self._routing.assign_table()

    def _signature(self, endpoint: str, key: tuple[str, int]) -> Signature | None:
        """Of a (model, version) that an endpoint is to hold; None of any other."""
        name, version = key
        if version not in plan_resident_on(self._routing.snapshot, endpoint).get(name, ()):
            return None
        return self.models[name].versions[version].signature

    def _lose(self, member: Member, reason: str) -> None:
        endpoint = member.engine.endpoint
        self._sightings.tell_down(member.engine)
        self._warmups.keep_only(endpoint, frozenset())
        if self._routing.observed.pop(endpoint, None) is None:
            return
        log.warning("endpoint %s is left out of routing: %s", endpoint, reason)
        self._trials.begin(endpoint)
        self._routing.assign_table(is_lost=lambda lane: lane.endpoint == endpoint)
        member.wake.set()
