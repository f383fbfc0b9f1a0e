"""How a version is to go live, as ordered, and whether that order fits the model as it is.

Rules: pure. Whatever can be refused by looking is refused before anything is claimed or loaded. Must not know how a
plan is carried out, nor whether the engines it names are up.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from gateway.core.canary import CanaryLimits
from gateway.core.errors import InvalidRequest, NotFound
from gateway.core.published import PublishedModel


@dataclass(frozen=True, slots=True)
class Plan:
    """How a version is to go live.

    `keep` versions stay loaded beside it. `engines` must have it before it does; None is all it was made for, and a
    lost one is waited for. `canary` are the shares (0..1) it answers on its way, each for at least `hold_s` seconds.
    `max_slowdown` bounds how many times longer it may take than the live version for the same batch, before any client
    sees it.
    """

    version: int
    keep: int = 1
    engines: tuple[str, ...] | None = None
    canary: tuple[float, ...] = ()
    hold_s: float = 30.0
    limits: CanaryLimits = field(default_factory=CanaryLimits)
    max_slowdown: float = 5.0
    load_timeout_s: float = 180.0
    drain_timeout_s: float = 60.0


def check_plan(plan: Plan, model: PublishedModel, engines: Collection[str]) -> None:
    """Raises NotFound (no such version), InvalidRequest (no such engine, or no such canary)."""
    if plan.version not in model.versions:
        known = sorted(model.versions)
        raise NotFound(f"unknown version {plan.version} of model {model.name!r}: expected one of {known}")
    check_engines_exist(plan.engines or (), engines)
    if strange := [engine for engine in plan.engines or () if not model.is_for(plan.version, engine)]:
        raise InvalidRequest(f"version {plan.version} of {model.name!r} is not for {strange[0]!r}")
    if list(plan.canary) != sorted(plan.canary) or not all(0 < share <= 1 for share in plan.canary):
        raise InvalidRequest(f"canary shares {list(plan.canary)}: expected rising shares above 0 and up to 1")
    before, after = model.versions.get(model.live), model.versions[plan.version]
    if plan.canary and before is not None and before.signature != after.signature:
        raise InvalidRequest(
            f"version {plan.version} has another signature than the live version {model.live}: clients of one "
            "cannot be clients of the other, so there can be no canary"
        )


def engines_of(plan: Plan, model: PublishedModel, engines: Collection[str]) -> tuple[str, ...]:
    """The engines that must have the version before it goes live: those named, or all that it was made for."""
    return plan.engines or tuple(engine for engine in engines if model.is_for(plan.version, engine))


def check_engines_exist(named: Collection[str], engines: Collection[str]) -> None:
    """Raises InvalidRequest naming the engines there are."""
    unknown = sorted(set(named) - set(engines))
    if unknown:
        raise InvalidRequest(f"unknown engine {unknown[0]!r}: expected one of {sorted(engines)}")
