"""What each engine should hold, and what routing should offer: pure policy, a snapshot in, a decision out.

Rules: the live version comes first, then the newest others up to the limit. A version stays desired on an engine
while anything holds a lease on it. Nothing here waits, loads or asks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.ports import Observed, PublishedModel, VersionState


@dataclass(frozen=True, slots=True)
class LaneKey:
    """One version on one engine."""

    engine: str
    model: str
    version: int


def resident_versions(model: PublishedModel, limit: int) -> tuple[int, ...]:
    """The versions to keep loaded, live first, then newest first; at most `limit`, at least the live one."""
    others = sorted((v for v in model.versions if v != model.live), reverse=True)
    return (model.live, *others[: max(limit - 1, 0)])


def desired_versions(
    models: Mapping[str, PublishedModel], limit: int, held: frozenset[tuple[str, int]]
) -> Mapping[str, frozenset[int]]:
    """What an engine should hold, by model; `held` are the (model, version) it must not lose yet."""
    desired: dict[str, set[int]] = {name: set(resident_versions(model, limit)) for name, model in models.items()}
    for name, version in held:
        desired.setdefault(name, set()).add(version)
    return {name: frozenset(versions) for name, versions in desired.items()}


def needs_change(desired: Mapping[str, frozenset[int]], observed: Mapping[tuple[str, int], Observed]) -> bool:
    """Whether the engine must be told. One that is loading, or failed to load, what is desired needs no telling."""
    wanted = {(name, version) for name, versions in desired.items() for version in versions}
    there = {key for key, seen in observed.items() if seen.state is not VersionState.UNLOADING}
    return wanted != there


def is_live_everywhere(
    models: Mapping[str, PublishedModel], observed: Mapping[str, Mapping[tuple[str, int], Observed]]
) -> bool:
    """Whether every engine has the live version of every model ready (and there is a model at all)."""
    if not models or not observed:
        return False
    return all(
        (seen := states.get((model.name, model.live))) is not None and seen.state is VersionState.READY
        for states in observed.values()
        for model in models.values()
    )
