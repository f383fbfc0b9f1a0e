"""The operators' routes from a greenlet: what is live, and promotes that return when they are done."""

import json
import urllib.error
import urllib.request
from typing import Any, TypeVar

import msgspec

from loadtest.admin import Gateway, ModelView, OperatorError, Rollout
from loadtest.scenarios.target import opener_for

_LOOK_TIMEOUT_S = 30.0
_SWAP_TIMEOUT_S = 240.0
T = TypeVar("T")


class Kept(msgspec.Struct, frozen=True):
    """How many versions stay loaded behind the live one."""

    kept: tuple[int, ...] = ()


class Operator:
    """Calls about one model."""

    def __init__(self, gateway: Gateway, model: str) -> None:
        self._gateway = gateway
        self._path = f"/admin/models/{model}"
        self._opener = opener_for(gateway.url)

    def show(self) -> tuple[ModelView, int]:
        """What is live and published, and how many others are kept loaded. Raises OperatorError."""
        content = self._call("GET", "", None, _LOOK_TIMEOUT_S)
        return _convert(content, ModelView), len(_convert(content, Kept).kept)

    def promote(self, version: int, keep: int) -> Rollout:
        """Make `version` live; returns when that is done. Raises OperatorError."""
        rollout = _convert(
            self._call("POST", "/promote?wait=true", {"version": version, "keep": keep}, _SWAP_TIMEOUT_S), Rollout
        )
        if rollout.state != "done":
            raise OperatorError(f"promote ended {rollout.state}: {rollout.reason or 'no reason given'}")
        return rollout

    def _call(self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> bytes:
        request = urllib.request.Request(  # noqa: S310 - the gateway's URL, which the user gave
            self._gateway.url + self._path + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._gateway.token}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with self._opener.open(request, timeout=timeout_s) as response:
                content: bytes = response.read()
        except urllib.error.HTTPError as error:
            said = error.read()[:300].decode(errors="replace")
            raise OperatorError(f"{method} {self._path}{path} answered {error.code}: {said}") from error
        except (OSError, ValueError) as error:
            raise OperatorError(f"{method} {request.full_url}: {type(error).__name__} {error}") from error
        return content


def _convert(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise OperatorError(f"the gateway's answer is not what was expected: {error}") from error
