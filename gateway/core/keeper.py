"""Keeps every engine at what the repository says, and the routing table at what the engines have.

Rules: observe, decide (lifecycle, pure), then do. One task an engine, so that a slow engine delays nobody else. What
is to be unloaded leaves the table before the engine is told. An engine that was lost comes back on trial: with every
live version settled, and only once it has answered an inference of ours.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from gateway.core.batch_plan import BatchLimits
from gateway.core.errors import DeadlineExceeded, EngineError, EngineFailed, EngineRejected, EngineUnreachable
from gateway.core.lanes import Lanes
from gateway.core.lifecycle import (
    LaneKey,
    States,
    answering_version,
    desired_versions,
    is_live_everywhere,
    needs_change,
    resident_versions,
)
from gateway.core.messages import EngineBatch
from gateway.core.ports import Engine, Events, PublishedModel, Repository, VersionState
from gateway.core.router import ModelRoute, Router, RoutingTable, VersionRoute
from gateway.core.tensors import Signature, Tensor

log = logging.getLogger(__name__)

SETTLED = (VersionState.READY, VersionState.ERROR)


@dataclass(frozen=True, slots=True)
class KeeperLimits:
    """How many versions of a model stay loaded, how engines are watched (seconds), and the bounds of each batcher."""

    resident_versions: int = 4
    probe_interval_s: float = 1.0
    silence_s: float = 3.0
    trial_timeout_s: float = 2.0
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
        self._lanes = Lanes(self._engines, limits.batch, events)
        self._models: Mapping[str, PublishedModel] = {}
        self._routed_models: Mapping[str, PublishedModel] = {}
        self._observed: dict[str, States] = {}
        self._on_trial: set[str] = set()
        self._was_ready = False
        self._were_ready: set[str] = set()

    @property
    def models(self) -> Mapping[str, PublishedModel]:
        """The repository as last read."""
        return self._models

    @property
    def observed(self) -> Mapping[str, States]:
        """What each engine that takes part in routing holds, by engine name, then (model, version)."""
        return self._observed

    @property
    def is_ready(self) -> bool:
        """First true when every engine has every live version; from then on while any engine can answer.

        A model that is published later counts from the moment it could first be answered.
        """
        models = self._router.table.models
        return self._was_ready and all(
            bool(route.versions[route.live].lanes) for name, route in models.items() if name in self._were_ready
        )

    def doubt(self, engine: str) -> None:
        """Leave an engine out of routing until it was observed again."""
        if engine in self._observed:
            self._lose(engine, "it could not be reached")

    async def run(self) -> None:
        """Follow the repository and the engines until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for engine in self._engines.values():
                tasks.create_task(self._follow(engine))

    async def close(self) -> None:
        """Let the batches that are out return, then give the engines back."""
        await self._lanes.close()
        for engine in self._engines.values():
            await engine.close()

    async def _follow(self, engine: Engine) -> None:
        while True:
            await self.look_at(engine)
            await asyncio.sleep(self._limits.probe_interval_s)

    async def look_at(self, engine: Engine) -> None:
        """One round: read the repository, observe the engine, tell it what to hold, renew the table."""
        self._models = self._repository.scan()
        if self._models != self._routed_models:
            self._assign_table()
        try:
            observed = await self._bring_up_to_date(engine)
            may_return = await self._passes_trial(engine, observed)
        except EngineError as error:
            log.info("engine %s: %s", engine.name, error.message)
            self._lose(engine.name, error.message)
            return
        self._report(engine, observed)
        if may_return and observed != self._observed.get(engine.name):
            self._observed[engine.name] = observed
            self._assign_table()

    async def _bring_up_to_date(self, engine: Engine) -> States:
        observed = await engine.observe(frozenset(self._models))
        desired = desired_versions(self._resident(), self._lanes.held(engine.name))
        if not needs_change(desired, observed):
            return observed
        try:
            await engine.serve(desired)
        except EngineFailed as error:
            log.error("engine %s does not take its versions: %s", engine.name, error.message)
            return observed  # refusing what it is told costs it nothing it has
        return await engine.observe(frozenset(self._models))

    async def _passes_trial(self, engine: Engine, observed: States) -> bool:
        """Whether the engine may take part. Raises EngineError when it is silent in a trial."""
        if engine.name in self._on_trial:
            live = [observed.get((model.name, model.live)) for model in self._models.values()]
            if any(seen is None or seen.state not in SETTLED for seen in live):
                return False
        elif self._lanes.longest_silence_s(engine.name) <= self._limits.silence_s:
            return True
        for model in self._models.values():
            seen = observed.get((model.name, model.live))
            if seen is not None and seen.state is VersionState.READY:
                await self._try_out(engine, model)
        self._on_trial.discard(engine.name)
        self._lanes.engine_answered(engine.name)
        return True

    async def _try_out(self, engine: Engine, model: PublishedModel) -> None:
        deadline = asyncio.get_running_loop().time() + self._limits.trial_timeout_s
        inputs = _zeros(model.versions[model.live].signature)
        try:
            await engine.infer(EngineBatch(model.name, model.live, inputs, deadline))
        except EngineRejected:
            return  # zeros are nothing to it, but it answers
        except DeadlineExceeded as error:
            waited = f"{self._limits.trial_timeout_s:g} s"
            raise EngineUnreachable(f"{engine.name} did not answer a trial inference in {waited}") from error

    def _lose(self, engine: str, reason: str) -> None:
        self._events.engine_seen(engine, self._engines[engine].implementation, is_up=False)
        lost = self._observed.pop(engine, None)
        if lost is None:
            return
        log.warning("engine %s is left out of routing: %s", engine, reason)
        self._on_trial.add(engine)
        for model, version in lost:
            self._events.version_seen(model, version, engine, None)
        self._assign_table(lost=engine)

    def _report(self, engine: Engine, observed: States) -> None:
        self._events.engine_seen(engine.name, engine.implementation, is_up=True)
        before = self._observed.get(engine.name, {})
        for (model, version), seen in observed.items():
            self._events.version_seen(model, version, engine.name, seen.state)
            if before.get((model, version)) != seen:
                log.info("%s version %d on %s: %s %s", model, version, engine.name, seen.state.value, seen.reason)
        for model, version in before.keys() - observed.keys():
            self._events.version_seen(model, version, engine.name, None)

    def _resident(self) -> Mapping[str, tuple[int, ...]]:
        routes = self._router.table.models
        return {
            name: resident_versions(
                model, self._limits.resident_versions, routes[name].live if name in routes else None
            )
            for name, model in self._models.items()
        }

    def _assign_table(self, lost: str | None = None) -> None:
        resident = self._resident()
        models = {name: self._route(model, resident[name]) for name, model in self._models.items()}
        self._router.table = RoutingTable(tuple(self._engines), models)
        self._routed_models = self._models
        routed = {
            LaneKey(lane.engine, model.name, route.version)
            for model in models.values()
            for route in model.versions.values()
            for lane in route.lanes.values()
        }
        self._lanes.keep_only(routed, lost)
        if set(self._observed) == set(self._engines) and is_live_everywhere(self._models, self._observed):
            self._was_ready = True
        self._were_ready |= {name for name, route in models.items() if route.versions[route.live].lanes}

    def _route(self, model: PublishedModel, resident: tuple[int, ...]) -> ModelRoute:
        versions = {}
        for version in resident:
            published = model.versions[version]
            lanes = {
                engine: self._lanes.get(LaneKey(engine, model.name, version), published.signature)
                for engine in self._engines
                if (seen := self._observed.get(engine, {}).get((model.name, version)))
                and seen.state is VersionState.READY
            }
            versions[version] = VersionRoute(version, published.signature, published.image, lanes)
        before = self._router.table.models.get(model.name)
        answering = answering_version(model, before.live if before else None, self._observed)
        return ModelRoute(model.name, answering, model.weights, versions)


def _zeros(signature: Signature) -> Mapping[str, Tensor]:
    """One row of nothing."""
    return {spec.name: np.zeros([max(size, 1) for size in spec.shape], spec.dtype) for spec in signature.inputs}
