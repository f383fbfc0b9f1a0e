"""The core, wired to the repository, the other gateway processes and whoever counts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.core.agreement import Tolerance
from gateway.core.batcher import BatchLimits
from gateway.core.counts import Ledger
from gateway.core.inference import Inference, Patience
from gateway.core.keeper import Keeper, KeeperLimits
from gateway.core.mirror import Mirror, MirrorLimits
from gateway.core.pace import Bounds
from gateway.core.ports import Engine
from gateway.core.rollouts import Rollouts
from gateway.core.router import Router
from gateway.core.surroundings import Surroundings
from gateway.core.warmup import WarmupLimits
from gateway.engine_figures import make_figures
from gateway.engines.counter_pages import CounterPages
from gateway.measured_file import MeasuredFile
from gateway.metrics import Metrics
from gateway.peers import DirectoryPeers
from gateway.repository import DirectoryRepository
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class CoreParts:
    """One of each. `read_memory` gives the resident bytes of each engine that is measured, by name."""

    ledger: Ledger
    metrics: Metrics
    peers: DirectoryPeers
    router: Router
    keeper: Keeper
    mirror: Mirror
    inference: Inference
    rollouts: Rollouts
    read_memory: Callable[[], Mapping[str, int]]


def make_core(
    settings: Settings, version: str, engines: tuple[Engine, ...], counters: CounterPages | None
) -> CoreParts:
    """Wire it; nothing runs yet. `version` is twinserve's. Raises OSError."""
    ledger = Ledger()
    read_memory = MeasuredFile(settings.engine_memory_file, dict[str, int]).read
    metrics = Metrics(ledger.usage, version, read_memory, (make_figures(settings, counters),))
    repository = DirectoryRepository(settings.repository)
    peers = DirectoryPeers(settings.repository)
    router = Router(tuple(dict.fromkeys(engine.name for engine in engines)))
    keeper = Keeper(engines, repository, peers, router, metrics, _keeper_limits(settings), ledger)
    mirror = Mirror(ledger, metrics, MirrorLimits(tolerance=_tolerance(settings)))
    inference = Inference(router, ledger, metrics, keeper.doubt, Patience(settings.patience_s), mirror)
    rollouts = Rollouts(Surroundings(keeper.engines, repository, keeper, peers, ledger, metrics, read_memory))
    return CoreParts(ledger, metrics, peers, router, keeper, mirror, inference, rollouts, read_memory)


def _tolerance(settings: Settings) -> Tolerance:
    """One for golden answers and for mirrored ones: both compare engines that compute the same function."""
    return Tolerance(settings.golden_atol, settings.golden_rtol)


def _keeper_limits(settings: Settings) -> KeeperLimits:
    return KeeperLimits(
        probe_interval_s=settings.probe_interval_s,
        slow_start_s=settings.endpoint_slow_start_s,
        warmup=WarmupLimits(settings.batch_rows, tolerance=_tolerance(settings)),
        batch=BatchLimits(_pace_bounds(settings), settings.queue_rows),
    )


def _pace_bounds(settings: Settings) -> Bounds:
    return Bounds(
        most_in_flight=settings.batch_in_flight,
        most_rows=settings.batch_rows,
        latency_target_s=settings.latency_target_s,
    )
