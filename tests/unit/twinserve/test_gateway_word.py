"""What the gateway's state says about an engine's going."""

from typing import Any

import pytest

from twinserve.client import CallError, GatewayClient
from twinserve.gateway_word import ask_gateway
from twinserve.memory_guard import GatewayWord

BOTH = {"torchserve": "ready", "tfserving": "ready"}


class Told(GatewayClient):
    """A gateway that says what it was told to say."""

    def __init__(self, state: dict[str, Any] | CallError) -> None:
        super().__init__("http://127.0.0.1:9")
        self._state = state

    def state(self) -> dict[str, Any]:
        if isinstance(self._state, CallError):
            raise self._state
        return self._state


def platform(*models: dict[str, Any], up: tuple[str, ...] = ("torchserve", "tfserving")) -> dict[str, Any]:
    engines = [{"engine": name, "up": name in up, "memory_bytes": None} for name in BOTH]
    return {"ready": True, "engines": engines, "models": list(models)}


def model(live: dict[str, str], other: dict[str, str] = BOTH, rollout: tuple[str, str] | None = None) -> dict[str, Any]:
    versions = [
        {"version": 1, "engines": {name: {"state": state} for name, state in other.items()}},
        {"version": 2, "engines": {name: {"state": state} for name, state in live.items()}},
    ]
    told = {"state": rollout[0], "phase": rollout[1]} if rollout else None
    return {"model": "mnist", "live": 2, "versions": versions, "rollout": told}


@pytest.mark.parametrize(
    ("state", "serving", "is_loading"),
    [
        (platform(model(BOTH)), {"torchserve", "tfserving"}, False),
        (platform(model(BOTH), up=("tfserving",)), {"tfserving"}, False),
        (platform(model(BOTH | {"tfserving": "loading"})), {"torchserve"}, False),
        (platform(model(BOTH, other={"torchserve": "error"})), {"torchserve", "tfserving"}, False),
        (platform(model(BOTH), model({"torchserve": "ready"})), {"torchserve"}, False),
        (platform(model(BOTH), model(BOTH | {"torchserve": "not made for it"})), {"torchserve", "tfserving"}, False),
        (platform(), {"torchserve", "tfserving"}, False),
        (platform(model(BOTH, rollout=("running", "load"))), {"torchserve", "tfserving"}, True),
        (platform(model(BOTH), model(BOTH, rollout=("running", "warm"))), {"torchserve", "tfserving"}, True),
        (platform(model(BOTH, rollout=("running", "canary 10%"))), {"torchserve", "tfserving"}, False),
        (platform(model(BOTH, rollout=("failed", "load"))), {"torchserve", "tfserving"}, False),
    ],
)
def test_who_serves_and_whether_a_version_is_loading(
    state: dict[str, Any], serving: set[str], is_loading: bool
) -> None:
    assert ask_gateway(Told(state)) == GatewayWord(frozenset(serving), is_loading)


@pytest.mark.parametrize("state", [CallError("nothing answers"), {"engines": []}, platform({"model": "mnist"})])
def test_no_answer_and_one_that_is_not_understood_are_no_word(state: dict[str, Any] | CallError) -> None:
    assert ask_gateway(Told(state)) is None
