"""The lanes that exist: those in the routing table, and retired ones that requests still hold.

Rules: no request enters a lane that has left the table, because routing and holding happen in one step. Whoever holds
one may still queue there, so a request that is sent on finds its version. What is queued drains, unless the lane's
engine is lost: then everybody in it is sent on to the other engine.
"""

from collections.abc import Callable, Iterable, Mapping

from gateway.core.batcher import Batcher, BatchLimits
from gateway.core.errors import EngineUnreachable
from gateway.core.leases import Leases
from gateway.core.lifecycle import LaneKey
from gateway.core.ports import Engine, Events
from gateway.core.router import Lane
from gateway.core.tensors import Signature


class Lanes:
    """Makes lanes and sees them off."""

    def __init__(self, engines: Mapping[str, Engine], limits: BatchLimits, events: Events) -> None:
        self._engines = engines
        self._limits = limits
        self._events = events
        self._open: dict[LaneKey, Lane] = {}
        self._retired: list[tuple[LaneKey, Lane]] = []

    def get(self, key: LaneKey, signature: Signature) -> Lane:
        """The lane, made when there is none."""
        lane = self._open.get(key)
        if lane is None:
            engine = self._engines[key.engine]
            batcher = Batcher(engine, key.model, key.version, signature, self._limits, self._events)
            lane = self._open[key] = Lane(key.engine, batcher, Leases())
        return lane

    def keep_only(self, routed: Iterable[LaneKey], is_lost: Callable[[LaneKey], bool]) -> None:
        """Retire every lane that is not routed any more; nobody can wait in one that `is_lost`."""
        for key in self._open.keys() - set(routed):
            lane = self._open.pop(key)
            self._retired.append((key, lane))
        for key, lane in self._retired:
            if is_lost(key) and not lane.batcher.is_abandoned:
                lane.batcher.abandon(EngineUnreachable(f"{key.model} {key.version} on {key.engine} was lost"))
        self._retired = [(key, lane) for key, lane in self._retired if lane.leases.count]

    def held(self, engine: str) -> frozenset[tuple[str, int]]:
        """The (model, version) that requests hold on an engine."""
        lanes = (*self._open.items(), *self._retired)
        return frozenset((key.model, key.version) for key, lane in lanes if key.engine == engine and lane.leases.count)

    def longest_silence_s(self, engine: str) -> float:
        """For how long an engine has been asked without answering anybody; 0 when nothing is out."""
        lanes = (*self._open.items(), *((key, lane) for key, lane in self._retired if not lane.batcher.is_abandoned))
        return max((lane.batcher.silent_s for key, lane in lanes if key.engine == engine), default=0.0)

    def engine_answered(self, engine: str) -> None:
        """Forget an engine's silence: it has just answered a trial."""
        for key, lane in (*self._open.items(), *self._retired):
            if key.engine == engine:
                lane.batcher.engine_answered()

    async def close(self) -> None:
        """Let the batches that are out return."""
        for lane in self._open.values():
            await lane.batcher.close()
        for _, lane in self._retired:
            await lane.batcher.close()
