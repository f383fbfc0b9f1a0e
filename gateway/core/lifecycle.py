"""What each endpoint should hold, and what routing should offer: pure policy, a snapshot in, a decision out.

Rules: an endpoint holds the live version, those kept beside it and the candidate, and nothing else. A version stays
desired on an endpoint while anything in any gateway process holds a lease on it, and becomes the one that answers only
once it has loaded. Nothing here waits, loads or asks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.ports import Observed, Using, VersionState, engine_of
from gateway.core.published import PublishedModel

States = Mapping[tuple[str, int], Observed]
"""What one endpoint holds, by (model, version)."""

Desired = Mapping[str, frozenset[int]]
"""The versions that an endpoint should hold, by model."""

SETTLED = (VersionState.READY, VersionState.ERROR)
"""A version that is not on its way: it is there, or could not be loaded."""


@dataclass(frozen=True, slots=True)
class LaneKey:
    """One version on one endpoint."""

    endpoint: str
    model: str
    version: int

    @property
    def engine(self) -> str:
        """The engine that the endpoint answers as."""
        return engine_of(self.endpoint)


def resident_versions(model: PublishedModel, answering: int | None) -> tuple[int, ...]:
    """The versions to keep loaded: the live one, the one answering until it is loaded, the kept ones, the candidate."""
    candidate = (model.candidate.version,) if model.candidate else ()
    wished = (model.live, *(() if answering is None else (answering,)), *model.kept, *candidate)
    return tuple(version for version in dict.fromkeys(wished) if version in model.versions)


def answering_version(model: PublishedModel, before: int | None, observed: Mapping[str, States]) -> int:
    """The version that answers when none is named: the live one, once no endpoint that is up still loads it.

    Until then the one that answered before; the live one also when there was none, or it is gone.
    """
    if before is None or before == model.live or before not in model.versions:
        return model.live
    states = [
        seen.state if (seen := held.get((model.name, model.live))) else None
        for endpoint, held in observed.items()
        if model.is_for(model.live, engine_of(endpoint))
    ]
    has_settled = all(state in SETTLED for state in states)
    return model.live if has_settled and VersionState.READY in states else before


def desired_versions(resident: Mapping[str, tuple[int, ...]], held: frozenset[tuple[str, int]]) -> Desired:
    """What an endpoint should hold, by model; `held` are the (model, version) it must not lose yet."""
    desired: dict[str, set[int]] = {name: set(versions) for name, versions in resident.items()}
    for name, version in held:
        desired.setdefault(name, set()).add(version)
    return {name: frozenset(versions) for name, versions in desired.items()}


def needs_change(desired: Desired, observed: States) -> bool:
    """Whether the endpoint must be told. One that is loading, or failed to load, what is desired needs no telling."""
    wanted = {(name, version) for name, versions in desired.items() for version in versions}
    there = {key for key, seen in observed.items() if seen.state is not VersionState.UNLOADING}
    return wanted != there


def has_version(observed: Mapping[str, States], engine: str, key: tuple[str, int]) -> bool:
    """Whether an engine has a (model, version): one endpoint of it has it ready, and none that is up still loads it."""
    states = [
        seen.state if (seen := held.get(key)) else None
        for endpoint, held in observed.items()
        if engine_of(endpoint) == engine
    ]
    return VersionState.READY in states and all(state in SETTLED for state in states)


def engines_up(observed: Mapping[str, States]) -> frozenset[str]:
    """The engines of which an endpoint is up."""
    return frozenset(map(engine_of, observed))


def is_live_everywhere(models: Mapping[str, PublishedModel], observed: Mapping[str, States]) -> bool:
    """Whether every engine that is up has the live versions that were made for it (and there is a model at all)."""
    if not models or not observed:
        return False
    return all(
        has_version(observed, engine, (model.name, model.live))
        for engine in engines_up(observed)
        for model in models.values()
        if model.is_for(model.live, engine)
    )


def is_live_as(using: Using, models: Mapping[str, PublishedModel], observed: Mapping[str, States]) -> bool:
    """Whether every live version is ready on each engine on which `using` has it, and it has it on one at least."""
    for model in models.values():
        key = (model.name, model.live)
        used = {engine_of(endpoint) for endpoint, held in using.items() if key in held}
        if not used or not all(has_version(observed, engine, key) for engine in used):
            return False
    return bool(models)


_BEST_FIRST = (
    VersionState.READY,
    VersionState.WARMING,
    VersionState.LOADING,
    VersionState.UNLOADING,
    VersionState.ERROR,
)


def best_seen(observed: Mapping[str, States], model: str, version: int) -> Observed | None:
    """What a version is to whoever does not choose: the best that any endpoint made of it; None where none has it."""
    seen = [states[model, version] for states in observed.values() if (model, version) in states]
    return min(seen, key=lambda one: _BEST_FIRST.index(one.state), default=None)
