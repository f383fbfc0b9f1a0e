"""The routing table that follows from what is published and what the endpoints have: a snapshot in, routes out.

Rules: pure, nothing here waits or is told. A lane is planned only where its version is resident and its endpoint has it
ready, endpoints always in the same order. A canary past its claim gets no traffic, for nobody judges it any more. Must
not know how lanes are made or how long they live.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.core.lifecycle import LaneKey, States, answering_version, resident_versions
from gateway.core.ports import Using, VersionState, engine_of
from gateway.core.published import PublishedModel
from gateway.core.router import Canary, Lane, ModelRoute, VersionRoute
from gateway.core.tensors import Signature


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that routing follows from.

    `endpoints` are all there are, in order, `observed` what those that take part hold. `answering` is, by model, the
    version that unversioned requests have gone to so far; `expired` the models whose candidate's claim has run out.
    """

    endpoints: tuple[str, ...]
    models: Mapping[str, PublishedModel]
    observed: Mapping[str, States]
    answering: Mapping[str, int]
    expired: frozenset[str]


def expired_claims(models: Mapping[str, PublishedModel], now: float) -> frozenset[str]:
    """The models with a candidate that nobody has renewed in time; `now` in Unix seconds."""
    return frozenset(name for name, m in models.items() if m.candidate and m.candidate.expires_at < now)


def plan_resident(snapshot: Snapshot) -> Mapping[str, tuple[int, ...]]:
    """The versions to keep loaded, by model."""
    return {name: resident_versions(model, _answering(snapshot, model)) for name, model in snapshot.models.items()}


def plan_resident_on(snapshot: Snapshot, endpoint: str) -> Mapping[str, tuple[int, ...]]:
    """Those of them that were made for this endpoint's engine; none of a model still says that it holds none of it."""
    engine = engine_of(endpoint)
    return {
        name: tuple(version for version in versions if snapshot.models[name].is_for(version, engine))
        for name, versions in plan_resident(snapshot).items()
    }


def plan_lanes(snapshot: Snapshot) -> frozenset[LaneKey]:
    """Every version on every endpoint that requests may be sent to."""
    return frozenset(
        key
        for name, versions in plan_resident(snapshot).items()
        for version in versions
        for key in _ready_lanes(snapshot, name, version)
    )


def plan_routes(snapshot: Snapshot, lane: Callable[[LaneKey, Signature], Lane]) -> Mapping[str, ModelRoute]:
    """The routes by model, over the lanes of `plan_lanes` as `lane` gives them."""
    resident = plan_resident(snapshot)
    return {name: _plan_route(snapshot, model, resident[name], lane) for name, model in snapshot.models.items()}


def lanes_in(routes: Mapping[str, ModelRoute]) -> frozenset[LaneKey]:
    """The lanes that routes lead to."""
    return frozenset(
        LaneKey(lane.endpoint, model.name, route.version)
        for model in routes.values()
        for route in model.versions.values()
        for lanes in route.lanes.values()
        for lane in lanes
    )


def with_lanes(using: Using, lanes: frozenset[LaneKey]) -> Using:
    """What a process uses once it uses these lanes too."""
    return {
        endpoint: versions | {(key.model, key.version) for key in lanes if key.endpoint == endpoint}
        for endpoint, versions in using.items()
    }


def uses_everywhere(using: Using, engine: str, key: tuple[str, int]) -> bool:
    """Whether a process uses a (model, version) on every endpoint of an engine that it uses at all, one at least."""
    used = [versions for endpoint, versions in using.items() if engine_of(endpoint) == engine and versions]
    return bool(used) and all(key in versions for versions in used)


def _plan_route(
    snapshot: Snapshot,
    model: PublishedModel,
    resident: tuple[int, ...],
    lane: Callable[[LaneKey, Signature], Lane],
) -> ModelRoute:
    versions = {}
    for version in resident:
        published = model.versions[version]
        lanes: dict[str, tuple[Lane, ...]] = {}
        for key in _ready_lanes(snapshot, model.name, version):
            lanes[key.engine] = (*lanes.get(key.engine, ()), lane(key, published.signature))
        versions[version] = VersionRoute(version, published.signature, published.image, lanes, published.engines)
    candidate = model.candidate if model.name not in snapshot.expired else None
    canary = Canary(candidate.version, candidate.share, candidate.rollout) if candidate else None
    return ModelRoute(model.name, _answering(snapshot, model), model.weights, versions, canary, model.mirror)


def _ready_lanes(snapshot: Snapshot, model: str, version: int) -> tuple[LaneKey, ...]:
    held = {name: snapshot.observed.get(name, {}).get((model, version)) for name in snapshot.endpoints}
    return tuple(
        LaneKey(endpoint, model, version)
        for endpoint, seen in held.items()
        if seen is not None and seen.state is VersionState.READY
    )


def _answering(snapshot: Snapshot, model: PublishedModel) -> int:
    return answering_version(model, snapshot.answering.get(model.name), snapshot.observed)
