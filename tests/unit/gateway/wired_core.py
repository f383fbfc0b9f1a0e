"""The core wired to two fake engines: `Gateway` takes each round when it is told to, `Platform` runs by itself."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np

from gateway.core.counts import Ledger
from gateway.core.errors import ServingError
from gateway.core.inference import Inference, Patience
from gateway.core.keeper import Keeper, KeeperLimits
from gateway.core.lifecycle import LaneKey
from gateway.core.messages import EngineBatch, InferAnswer
from gateway.core.mirror import Mirror, MirrorLimits
from gateway.core.plan import Plan
from gateway.core.published import Golden, PublishedModel, Rollout
from gateway.core.rollouts import Rollouts
from gateway.core.router import Router
from gateway.core.surroundings import Surroundings
from gateway.core.tensors import Tensor
from gateway.core.trials import TrialLimits
from gateway.engines.fake import FakeEngine
from tests.platform_process import wait_until_async
from tests.unit.gateway.adder import LedgerEvents, MemoryPeers, MemoryRepository, add, ask, published

Engines = tuple[FakeEngine, ...]

# No patience: whoever owes an answer when it is looked at is tried at once.
STRICT = KeeperLimits(turn_s=0, trial=TrialLimits(silence_s=0, timeout_s=0.05))
BRISK = KeeperLimits(repository_interval_s=0.01, probe_interval_s=0.02, busy_interval_s=0.01, turn_s=0.02)
PATIENCE_S = 30.0  # with a machine that is busy with something else
GOLDEN = Golden(
    {name: np.ones((4, 2), np.float32) for name in ("a", "b")},
    {"sum": np.full((4, 2), 2, np.float32)},
)

# Two endpoints of TorchServe, and TensorFlow Serving, which is one.
A, B, TF = "torchserve/a:8080", "torchserve/b:8080", "tfserving"


def make_endpoints() -> tuple[FakeEngine, ...]:
    return FakeEngine("torchserve", add, A), FakeEngine("torchserve", add, B), FakeEngine(TF, add)


class Client:
    """Asks the adder as a protocol does: it chooses the version, then makes the request for it."""

    def __init__(self, router: Router, inference: Inference) -> None:
        self._router = router
        self._inference = inference

    async def ask(
        self,
        rows: int = 1,
        value: float = 1.0,
        timeout_s: float = 30.0,
        version: int | None = None,
        engine: str | None = None,
        route_key: str = "",
    ) -> InferAnswer:
        route = self._router.version("adder", version, route_key, engine)
        return await self._inference.infer(ask(rows, value, timeout_s, version=route.version, engine=engine))


class Gateway:
    """The core without rollouts; `look` is one round of the keeper."""

    def __init__(
        self, engines: Engines, events: LedgerEvents, limits: KeeperLimits = STRICT, patience_s: float = 0
    ) -> None:
        self.repository = MemoryRepository(published())
        self.engines = engines
        self.router = Router(tuple(dict.fromkeys(engine.name for engine in engines)))
        self.peers = MemoryPeers()
        self.ledger = Ledger()
        self.keeper = Keeper(engines, self.repository, self.peers, self.router, events, limits, self.ledger)
        mirror = Mirror(self.ledger, events, MirrorLimits())
        self.inference = Inference(self.router, self.ledger, events, self.keeper.doubt, Patience(patience_s), mirror)
        self.ask = Client(self.router, self.inference).ask

    def doubt(self, engine: str) -> None:
        self.keeper.doubt(LaneKey(engine, "adder", 2), is_whole_endpoint=True)

    async def look(self) -> None:
        for engine in self.engines:
            await self.keeper.look_at(engine)


def is_ready(gateway: Gateway) -> bool:
    return gateway.keeper.is_ready


class Platform:
    """The core with rollouts, to be run. `engines` are by endpoint, which for the only one of an engine is its name."""

    def __init__(
        self, events: LedgerEvents, engines: Sequence[FakeEngine] | None = None, limits: KeeperLimits = BRISK
    ) -> None:
        engines = engines or [FakeEngine(name, add) for name in ("torchserve", "tfserving")]
        self.engines = {engine.endpoint: engine for engine in engines}
        self.repository = MemoryRepository(published(live=2, versions=(1, 2, 3)))
        self.repository.golden = GOLDEN
        self.peers = MemoryPeers()
        self.events = events
        self.memory = {"tfserving": 7}
        self.ledger = ledger = Ledger()
        router = Router(tuple(dict.fromkeys(engine.name for engine in engines)))
        self.keeper = Keeper(engines, self.repository, self.peers, router, events, limits, ledger)
        self.mirror = Mirror(ledger, events, MirrorLimits())
        self.inference = Inference(router, ledger, events, self.keeper.doubt, Patience(5), self.mirror)
        self.ask = Client(router, self.inference).ask
        self.rollouts = Rollouts(
            Surroundings(
                self.keeper.engines, self.repository, self.keeper, self.peers, ledger, events, lambda: self.memory
            )
        )

    @property
    def model(self) -> PublishedModel:
        return self.repository.models[0]

    async def promote(self, version: int, **plan: Any) -> Rollout:
        begun = await self.rollouts.promote("adder", Plan(version, **plan))
        return await asyncio.wait_for(self.rollouts.wait("adder", begun), PATIENCE_S)

    async def held(self, endpoint: str) -> set[int]:
        return {version for _, version in await self.engines[endpoint].observe(frozenset({"adder"}))}

    def answer_with(self, version: int, value: Tensor | ServingError) -> None:
        """Let the fakes answer this version's requests with something else."""

        def answer(batch: EngineBatch) -> Mapping[str, Tensor]:
            if batch.version != version:
                return add(batch)
            if isinstance(value, ServingError):
                raise value
            return {"sum": value[: len(batch.inputs["a"])]}

        for engine in self.engines.values():
            engine.answer = answer


@asynccontextmanager
async def running(platform: Platform) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(platform.keeper.run()), asyncio.create_task(platform.rollouts.run())]
    try:
        await until(lambda: platform.keeper.is_ready, "both engines are ready")
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await platform.keeper.close()


async def until(condition: Any, what: str) -> None:
    async def holds() -> bool:
        return bool(condition())

    await wait_until_async(holds, PATIENCE_S, what)


async def send(platform: Platform, stop: asyncio.Event, value: float = 1) -> None:
    """A client that asks without pause, each time as somebody else."""
    number = 0
    while not stop.is_set():
        number += 1
        with suppress(ServingError):
            await platform.ask(value=value, route_key=str(number))
        await asyncio.sleep(0)
