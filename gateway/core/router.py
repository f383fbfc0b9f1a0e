"""Which version on which engine answers a request.

Rules: routing reads one immutable table, replaced whole by one assignment, so a request sees a change entirely or not
at all. A lane is in the table only while its engine has its version ready. Must not know why the table changed.
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


@dataclass(frozen=True, slots=True)
class Lane:
    """One version on one engine: its queue, and the holds on it."""

    engine: str
    batcher: Batcher
    leases: Leases


@dataclass(frozen=True, slots=True)
class VersionRoute:
    """A version that can be asked for. No lanes: it is known, but no engine has it ready.

    `engines` are those it was made for, None is all there are.
    """

    version: int
    signature: Signature
    image: ImageRecipe | None
    lanes: Mapping[str, Lane]
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
    """All that routing knows. `engines` are the names a client may force, `loading` those at work on a new version."""

    engines: tuple[str, ...]
    models: Mapping[str, ModelRoute] = field(default_factory=dict)
    loading: frozenset[str] = frozenset()


class Router:
    """Resolves requests against the current table."""

    def __init__(self, engines: tuple[str, ...]) -> None:
        self._table = RoutingTable(engines)
        self._turns: dict[str, dict[str, float]] = {}
        self._empty_since: dict[tuple[str, int], float] = {}
        self._changed = asyncio.Event()

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
        """The lanes to try, best first: the forced engine alone, or the one whose turn it is, then the others.

        Raises InvalidRequest for a forced engine that the version was not made for.
        """
        if forced is not None:
            if forced in route.lanes:
                return (route.lanes[forced],)
            if route.engines is not None and forced not in route.engines:
                there = " and ".join(sorted(route.engines))
                raise InvalidRequest(f"{model} version {route.version} is for {there} alone, not for {forced!r}")
            return ()
        if not route.lanes:
            return ()
        first = self._next_turn(model, route)
        return (route.lanes[first], *(lane for name, lane in route.lanes.items() if name != first))

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
        return self._stand_in(first, route, weights) if first in self.table.loading else first

    def _stand_in(self, engine: str, route: VersionRoute, weights: Mapping[str, float]) -> str:
        """The engine with the shortest line that loads nothing and has a share of its own; else the one given."""
        free = [name for name in route.lanes if name not in self.table.loading and weights.get(name)]
        best = min(free, key=lambda name: route.lanes[name].batcher.queued_rows, default=engine)
        return engine if route.lanes[best].batcher.is_behind else best
