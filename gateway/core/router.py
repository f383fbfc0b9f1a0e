"""Which version on which endpoint of which engine answers a request.

Rules: routing reads one immutable table, replaced whole by one assignment, so a request sees a change entirely or not
at all. A lane is in the table only while its endpoint has its version ready. The engine goes by its share of the
traffic; of its endpoints the one that has the least to do is asked first. Must not know why the table changed.
"""

import asyncio
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.batcher import Batcher
from gateway.core.errors import InvalidRequest, NotFound
from gateway.core.leases import Leases
from gateway.core.published import ImageRecipe
from gateway.core.tensors import Signature
from gateway.core.workload import Workload

_LOADING_COST = 10.0
"""How many times as much it costs to ask an endpoint that loads a version, next to one that does not."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One version on one endpoint: its queue, the holds on it, and what else the endpoint has to do."""

    engine: str
    endpoint: str
    batcher: Batcher
    leases: Leases
    workload: Workload


@dataclass(frozen=True, slots=True)
class VersionRoute:
    """A version that can be asked for. No lanes: it is known, but no engine has it ready.

    `lanes` are by engine, one an endpoint; `engines` are those it was made for, None is all there are.
    """

    version: int
    signature: Signature
    image: ImageRecipe | None
    lanes: Mapping[str, tuple[Lane, ...]]
    engines: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Canary:
    """A version that answers a share (0..1) of what would go to the live one. `salt` draws each rollout's own share."""

    version: int
    share: float
    salt: str

    def takes(self, key: str) -> bool:
        """Whether requests with this key are among its share; the same key always gets the same answer."""
        return zlib.crc32(f"{self.salt}/{key}".encode()) < self.share * 2**32


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """A model: its versions, the live one, and each engine's share of the traffic that names no engine."""

    name: str
    live: int
    weights: Mapping[str, float]
    versions: Mapping[int, VersionRoute]
    canary: Canary | None = None
    mirror: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """All that routing knows. `engines` are the names a client may force.

    `loading` are the endpoints at work on a new version, `loading_engines` those that have no other endpoint.
    """

    engines: tuple[str, ...]
    models: Mapping[str, ModelRoute] = field(default_factory=dict)
    loading: frozenset[str] = frozenset()
    loading_engines: frozenset[str] = frozenset()


class Router:
    """Resolves requests against the current table."""

    def __init__(self, engines: tuple[str, ...]) -> None:
        self._table = RoutingTable(engines)
        self._turns: dict[str, dict[str, float]] = {}
        self._empty_since: dict[tuple[str, int], float] = {}
        self._changed = asyncio.Event()
        self._asked = 0

    @property
    def table(self) -> RoutingTable:
        return self._table

    def assign(self, table: RoutingTable, now: float) -> None:
        """Replace the table, at `now` on the event loop's clock; whoever waits for a change is woken."""
        self._table = table
        empty = {(m.name, r.version) for m in table.models.values() for r in m.versions.values() if not r.lanes}
        self._empty_since = {key: self._empty_since.get(key, now) for key in empty}
        self._changed.set()
        self._changed = asyncio.Event()

    def empty_since(self, model: str, version: int) -> float | None:
        """Since when (event loop's clock) no engine can answer for this version; None while one can."""
        return self._empty_since.get((model, version))

    @property
    def changed(self) -> asyncio.Event:
        """Set at the next change of the table; to be taken before the table is looked at."""
        return self._changed

    async def wait_changed(self) -> None:
        """Return at the next change of the table."""
        await self._changed.wait()

    def model(self, name: str) -> ModelRoute:
        """Raises NotFound naming the models there are."""
        route = self.table.models.get(name)
        if route is None:
            there = f"expected one of {sorted(self.table.models)}" if self.table.models else "no model is served yet"
            raise NotFound(f"unknown model {name!r}: {there}")
        return route

    def version(self, name: str, version: int | None, route_key: str = "", engine: str | None = None) -> VersionRoute:
        """The version asked for; for None the live one or the canary, where `engine`, if one is forced, has it.

        Raises NotFound naming the versions there are.
        """
        model = self.model(name)
        canary = model.canary
        if version is None and canary is not None and canary.share and canary.takes(route_key):
            candidate = model.versions.get(canary.version)
            if candidate is not None and (engine in candidate.lanes if engine else candidate.lanes):
                return candidate
        route = model.versions.get(model.live if version is None else version)
        if route is None:
            known = sorted(model.versions)
            raise NotFound(f"unknown version {version or model.live} of model {name!r}: expected one of {known}")
        return route

    def check_engine(self, name: str) -> None:
        """Raises InvalidRequest naming the engines there are."""
        if name not in self.table.engines:
            raise InvalidRequest(f"unknown engine {name!r}: expected one of {list(self.table.engines)}")

    def lanes(self, model: str, route: VersionRoute, forced: str | None) -> tuple[Lane, ...]:
        """The lanes to try, best first: those of the forced engine, or of the one whose turn it is, then of the others.

        Raises InvalidRequest for a forced engine that the version was not made for.
        """
        if forced is not None:
            if forced in route.lanes:
                lanes = route.lanes[forced]
                return lanes if len(lanes) == 1 else self._least_first(lanes)
            if route.engines is not None and forced not in route.engines:
                there = " and ".join(sorted(route.engines))
                raise InvalidRequest(f"{model} version {route.version} is for {there} alone, not for {forced!r}")
            return ()
        if not route.lanes:
            return ()
        first = self._next_turn(model, route)
        lanes = route.lanes[first]
        if len(lanes) > 1:
            lanes = self._least_first(lanes)
        for name, spare in route.lanes.items():
            if name != first:
                lanes += spare if len(spare) == 1 else self._spare_order(spare)
        return lanes

    def _least_first(self, lanes: tuple[Lane, ...]) -> tuple[Lane, ...]:
        """An engine's lanes, the one that has the least to do first; of equals the one that was first longest ago."""
        ordered = tuple(sorted(lanes, key=lambda lane: (self._cost(lane), lane.workload.turn)))
        self._asked += 1
        ordered[0].workload.turn = self._asked
        return ordered

    def _spare_order(self, lanes: tuple[Lane, ...]) -> tuple[Lane, ...]:
        """The same for the lanes of an engine that is asked only if another fails; it has turns of its own."""
        ordered = tuple(sorted(lanes, key=lambda lane: (self._cost(lane), lane.workload.spare_turn)))
        self._asked += 1
        ordered[0].workload.spare_turn = self._asked
        return ordered

    def _cost(self, lane: Lane) -> float:
        cost = lane.workload.cost
        return cost * _LOADING_COST if lane.endpoint in self._table.loading else cost

    def _next_turn(self, model: str, route: VersionRoute) -> str:
        """Smooth weighted round robin over the engines that are there: exact shares, evenly spread.

        The share of an engine that loads a version is another's for as long as that one keeps up.
        """
        if len(route.lanes) == 1:
            return next(iter(route.lanes))
        weights = self.table.models[model].weights
        turns = self._turns.setdefault(model, {})
        total = 0.0
        for name in route.lanes:
            weight = weights.get(name, 0.0)
            turns[name] = turns.get(name, 0.0) + weight
            total += weight
        first = max(route.lanes, key=turns.__getitem__)
        turns[first] -= total
        return self._stand_in(first, route, weights) if first in self.table.loading_engines else first

    def _stand_in(self, engine: str, route: VersionRoute, weights: Mapping[str, float]) -> str:
        """The engine with the shortest line that loads nothing and has a share of its own; else the one given."""
        shortest = {
            name: min((lane.batcher for lane in lanes), key=lambda batcher: batcher.queued_rows)
            for name, lanes in route.lanes.items()
            if name not in self.table.loading_engines and weights.get(name)
        }
        best = min(shortest, key=lambda name: shortest[name].queued_rows, default=engine)
        return engine if best not in shortest or shortest[best].is_behind else best
