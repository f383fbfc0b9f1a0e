"""The lanes that exist: those in the routing table, and retired ones that requests still hold.

Rules: no request enters a lane that has left the table, because routing and holding happen in one step. Whoever holds
one may still queue there, so a request that is sent on finds its version. What is queued drains, unless the lane's
endpoint is lost: then everybody in it is sent on to the next one.
"""

from collections.abc import Callable, Iterable

from gateway.core.batcher import Batcher, BatchLimits
from gateway.core.endpoints import Endpoints
from gateway.core.errors import EngineUnreachable
from gateway.core.leases import Leases
from gateway.core.lifecycle import LaneKey
from gateway.core.ports import Events
from gateway.core.router import Lane
from gateway.core.tensors import Signature
from gateway.core.workload import Workload


class Lanes:
    """Makes lanes and sees them off."""

    def __init__(self, endpoints: Endpoints, limits: BatchLimits, events: Events) -> None:
        self._endpoints = endpoints
        self._limits = limits
        self._events = events
        self._open: dict[LaneKey, Lane] = {}
        self._retired: list[tuple[LaneKey, Lane]] = []
        self._workloads: dict[str, Workload] = {}

    def get(self, key: LaneKey, signature: Signature) -> Lane:
        """The lane, made when there is none."""
        lane = self._open.get(key)
        if lane is None:
            engine = self._endpoints[key.endpoint].engine
            batcher = Batcher(engine, key.model, key.version, signature, self._limits, self._events)
            workload = self._workload(key.endpoint)
            workload.add(batcher)
            lane = self._open[key] = Lane(key.engine, key.endpoint, batcher, Leases(), workload)
        return lane

    def keep_only(self, routed: Iterable[LaneKey], is_lost: Callable[[LaneKey], bool]) -> None:
        """Retire every lane that is not routed any more; nobody can wait in one that `is_lost`."""
        for key in self._open.keys() - set(routed):
            lane = self._open.pop(key)
            self._retired.append((key, lane))
        for key, lane in self._retired:
            if is_lost(key) and not lane.batcher.is_abandoned:
                lane.batcher.abandon(EngineUnreachable(f"{key.model} {key.version} on {key.endpoint} was lost"))
        for _, lane in self._retired:
            if not lane.leases.count:
                lane.workload.remove(lane.batcher)
        self._retired = [(key, lane) for key, lane in self._retired if lane.leases.count]

    @property
    def endpoints_held(self) -> frozenset[str]:
        """The endpoints that requests hold a version on; one that is gone may be among them."""
        return frozenset(key.endpoint for key, lane in self._all() if lane.leases.count)

    def held(self, endpoint: str) -> frozenset[tuple[str, int]]:
        """The (model, version) that requests hold on an endpoint."""
        return frozenset(
            (key.model, key.version) for key, lane in self._all() if key.endpoint == endpoint and lane.leases.count
        )

    def is_draining(self, endpoint: str) -> bool:
        """Whether requests hold a version on an endpoint that nobody else is sent to any more."""
        return any(key.endpoint == endpoint and lane.leases.count for key, lane in self._retired)

    def outstanding_rows(self, endpoint: str) -> int:
        """Rows that an endpoint owes an answer to, or that wait for it."""
        workload = self._workloads.get(endpoint)
        return 0 if workload is None else workload.outstanding_rows

    def begin_slowly(self, endpoint: str, grows_s: float) -> None:
        """The endpoint has come back: its share of the requests grows for so many seconds."""
        self._workload(endpoint).begin_slowly(grows_s)

    def longest_silence_s(self, endpoint: str) -> float:
        """For how long an endpoint has been asked without answering anybody; 0 when nothing is out."""
        silent = [
            lane.batcher.silent_s
            for key, lane in self._all()
            if key.endpoint == endpoint and not lane.batcher.is_abandoned
        ]
        return max(silent, default=0.0)

    def endpoint_answered(self, endpoint: str) -> None:
        """Forget an endpoint's silence: it has just answered a trial."""
        for key, lane in self._all():
            if key.endpoint == endpoint:
                lane.batcher.engine_answered()

    def forget(self, endpoint: str) -> None:
        """The endpoint is gone; those of its lanes that requests hold drain all the same."""
        self._workloads.pop(endpoint, None)

    async def close(self) -> None:
        """Let the batches that are out return."""
        for _, lane in self._all():
            await lane.batcher.close()

    def _all(self) -> tuple[tuple[LaneKey, Lane], ...]:
        return (*self._open.items(), *self._retired)

    def _workload(self, endpoint: str) -> Workload:
        return self._workloads.setdefault(endpoint, Workload())
