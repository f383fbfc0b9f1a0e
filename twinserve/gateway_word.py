"""What the gateway says before an engine is taken from it: who could answer alone, and whether a version is loading."""

import msgspec

from twinserve.client import CallError, GatewayClient
from twinserve.memory_guard import GatewayWord

_DISTURBED_PHASES = ("load", "warm", "compare")
"""Phases of a rollout that fail or start over when an engine goes; the others go on with the one that is left."""

_WELL = ("ready", "not made for it")


class _Engine(msgspec.Struct):
    engine: str
    up: bool


class _State(msgspec.Struct):
    state: str


class _Version(msgspec.Struct):
    version: int
    engines: dict[str, _State]


class _Rollout(msgspec.Struct):
    state: str
    phase: str


class _Model(msgspec.Struct):
    live: int
    versions: list[_Version]
    rollout: _Rollout | None


class _Platform(msgspec.Struct):
    """GET /admin/models, as far as it is looked at here."""

    engines: list[_Engine]
    models: list[_Model]


def ask_gateway(gateway: GatewayClient) -> GatewayWord | None:
    """Its word, or None when it does not answer or is not understood."""
    try:
        platform = msgspec.convert(gateway.state(), _Platform)
    except (CallError, msgspec.ValidationError):
        return None
    up = frozenset(engine.engine for engine in platform.engines if engine.up)
    return GatewayWord(
        serving=frozenset(name for name in up if all(_holds_live(model, name) for model in platform.models)),
        is_loading=any(
            model.rollout is not None and model.rollout.state == "running" and model.rollout.phase in _DISTURBED_PHASES
            for model in platform.models
        ),
    )


def _holds_live(model: _Model, engine: str) -> bool:
    return any(
        version.version == model.live and engine in version.engines and version.engines[engine].state in _WELL
        for version in model.versions
    )
