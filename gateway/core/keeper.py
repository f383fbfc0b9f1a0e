"""Keeps every engine at what the repository says, and the routing table at what the engines have.

Rules: observe, decide (lifecycle, pure), then do. One task an engine, so that a slow engine delays nobody else. An
engine in doubt leaves the table at once and returns only when it was observed to have its versions ready.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gateway.core.batch_plan import BatchLimits
from gateway.core.batcher import Batcher
from gateway.core.errors import EngineError, EngineFailed
from gateway.core.leases import Leases
from gateway.core.lifecycle import (
    LaneKey,
    desired_versions,
    is_live_everywhere,
    needs_change,
    resident_versions,
)
from gateway.core.ports import Engine, Events, Observed, PublishedModel, Repository, VersionState
from gateway.core.router import Lane, ModelRoute, Router, RoutingTable, VersionRoute
from gateway.core.tensors import Signature

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeeperLimits:
    """How many versions of a model stay loaded, how often an engine is looked at, and the bounds of each batcher."""

    resident_versions: int = 4
    probe_interval_s: float = 1.0
    batch: BatchLimits = field(default_factory=BatchLimits)


class Keeper:
    """Owns the routing table, the lanes in it, and the tasks that follow the engines."""

    def __init__(
        self, engines: Iterable[Engine], repository: Repository, router: Router, events: Events, limits: KeeperLimits
    ) -> None:
        self._engines = {engine.name: engine for engine in engines}
        self._repository = repository
        self._router = router
        self._events = events
        self._limits = limits
        self._models: Mapping[str, PublishedModel] = {}
        self._routed_models: Mapping[str, PublishedModel] = {}
        self._observed: dict[str, Mapping[tuple[str, int], Observed]] = {}
        self._lanes: dict[LaneKey, Lane] = {}
        self._was_ready = False

    @property
    def models(self) -> Mapping[str, PublishedModel]:
        """The repository as last read."""
        return self._models

    @property
    def observed(self) -> Mapping[str, Mapping[tuple[str, int], Observed]]:
        """What each engine that is up holds, by engine name, then (model, version)."""
        return self._observed

    @property
    def is_ready(self) -> bool:
        """First true when every engine has every live version; from then on while any engine can answer for each."""
        if not self._was_ready:
            everywhere = set(self._observed) == set(self._engines)
            self._was_ready = everywhere and is_live_everywhere(self._models, self._observed)
        models = self._router.table.models
        return self._was_ready and bool(models) and all(model.versions[model.live].lanes for model in models.values())

    def doubt(self, engine: str) -> None:
        """Leave an engine out of routing until it was observed again."""
        if engine in self._observed:
            self._lose(engine)

    async def run(self) -> None:
        """Follow the repository and the engines until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for engine in self._engines.values():
                tasks.create_task(self._follow(engine))

    async def close(self) -> None:
        """Let the batches that are out return, then give the engines back."""
        for lane in self._lanes.values():
            await lane.batcher.close()
        for engine in self._engines.values():
            await engine.close()

    async def _follow(self, engine: Engine) -> None:
        while True:
            await self.look_at(engine)
            await asyncio.sleep(self._limits.probe_interval_s)

    async def look_at(self, engine: Engine) -> None:
        """One round: read the repository, observe the engine, tell it what to hold, renew the table."""
        self._models = self._repository.scan()
        try:
            observed = await engine.observe(frozenset(self._models))
            desired = desired_versions(self._models, self._limits.resident_versions, self._held(engine.name))
            if needs_change(desired, observed):
                observed = await self._tell(engine, desired) or observed
        except EngineError as error:
            log.info("engine %s: %s", engine.name, error.message)
            self._lose(engine.name)
            return
        self._report(engine, observed)
        if observed != self._observed.get(engine.name) or self._models != self._routed_models:
            self._observed[engine.name] = observed
            self._assign_table()

    async def _tell(
        self, engine: Engine, desired: Mapping[str, frozenset[int]]
    ) -> Mapping[tuple[str, int], Observed] | None:
        """Returns what the engine holds then; None when it would not be told, which costs it nothing it has."""
        try:
            await engine.serve(desired)
        except EngineFailed as error:
            log.error("engine %s does not take its versions: %s", engine.name, error.message)
            return None
        return await engine.observe(frozenset(self._models))

    def _lose(self, engine: str) -> None:
        self._events.engine_seen(engine, self._engines[engine].implementation, is_up=False)
        if self._observed.pop(engine, None) is not None:
            log.warning("engine %s is left out of routing until it answers again", engine)
            self._assign_table()

    def _held(self, engine: str) -> frozenset[tuple[str, int]]:
        return frozenset(
            (key.model, key.version) for key, lane in self._lanes.items() if key.engine == engine and lane.leases.count
        )

    def _report(self, engine: Engine, observed: Mapping[tuple[str, int], Observed]) -> None:
        self._events.engine_seen(engine.name, engine.implementation, is_up=True)
        before = self._observed.get(engine.name, {})
        for (model, version), seen in observed.items():
            self._events.version_seen(model, version, engine.name, seen.state)
            if before.get((model, version)) != seen:
                log.info("%s version %d on %s: %s %s", model, version, engine.name, seen.state.value, seen.reason)
        for model, version in before.keys() - observed.keys():
            self._events.version_seen(model, version, engine.name, None)

    def _assign_table(self) -> None:
        self._routed_models = self._models
        models = {name: self._route(model) for name, model in self._models.items()}
        self._router.table = RoutingTable(tuple(self._engines), models)
        routed = {
            LaneKey(lane.engine, model.name, route.version)
            for model in models.values()
            for route in model.versions.values()
            for lane in route.lanes.values()
        }
        # A lane that left the table lives on while a request holds it; it is dropped once the last one let go.
        self._lanes = {key: lane for key, lane in self._lanes.items() if key in routed or lane.leases.count}

    def _route(self, model: PublishedModel) -> ModelRoute:
        versions = {}
        for version in resident_versions(model, self._limits.resident_versions):
            published = model.versions[version]
            lanes = {
                engine: self._lane(LaneKey(engine, model.name, version), published.signature)
                for engine in self._engines
                if (seen := self._observed.get(engine, {}).get((model.name, version)))
                and seen.state is VersionState.READY
            }
            versions[version] = VersionRoute(version, published.signature, published.image, lanes)
        return ModelRoute(model.name, model.live, model.weights, versions)

    def _lane(self, key: LaneKey, signature: Signature) -> Lane:
        lane = self._lanes.get(key)
        if lane is None:
            engine = self._engines[key.engine]
            batcher = Batcher(engine, key.model, key.version, signature, self._limits.batch, self._events)
            lane = self._lanes[key] = Lane(key.engine, batcher, Leases())
        return lane
