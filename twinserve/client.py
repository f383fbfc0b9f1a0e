"""Calls to a gateway, for the command line: each returns plain data or raises CallError with what to do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2

TIMEOUT_S = 60.0


class CallError(Exception):
    """The gateway could not be reached, or refused; the message is for the person at the terminal."""


class Unanswered(CallError):
    """Nobody answers at the gateway's address, or not to the end."""


class GatewayClient:
    """One gateway, by URL; `token` is the operators'."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._token = token

    def classify(self, model: str, pictures: Sequence[Path], engine: str | None, invert: str) -> dict[str, Any]:
        """The gateway's answer for these picture files. Raises CallError, OSError."""
        files = [("image", (path.name, path.read_bytes())) for path in pictures]
        headers = {"X-Engine": engine} if engine else {}
        return self._call("POST", f"/models/{model}/classify", params={"invert": invert}, files=files, headers=headers)

    def state(self) -> dict[str, Any]:
        """Engines, models and versions, as operators see them. Raises CallError."""
        return self._operate("GET", "")

    def model_state(self, model: str) -> dict[str, Any]:
        """One model: versions, ledger, routing, the last rollout. Raises CallError."""
        return self._operate("GET", f"/{model}")

    def promote(self, model: str, order: dict[str, Any]) -> dict[str, Any]:
        """Begin a promote (gateway.admin.PromoteOrder); returns the rollout so far. Raises CallError."""
        return self._operate("POST", f"/{model}/promote", order)

    def roll_back(self, model: str, order: dict[str, Any]) -> dict[str, Any]:
        """Begin a rollback; returns the rollout so far. Raises CallError."""
        return self._operate("POST", f"/{model}/rollback", order)

    def set_routing(self, model: str, order: dict[str, Any]) -> dict[str, Any]:
        """Change the engines' shares and the mirror's; returns the model's state. Raises CallError."""
        return self._operate("PUT", f"/{model}/routing", order)

    def _operate(self, method: str, path: str, order: dict[str, Any] | None = None) -> dict[str, Any]:
        if self._token is None:
            raise CallError("this needs the operators' token: set TWINSERVE_ADMIN_TOKEN, or run it where `up` runs")
        headers = {"Authorization": f"Bearer {self._token}"}
        return self._call(method, f"/admin/models{path}", json=order, headers=headers)

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            # A proxy is for the world outside; a gateway on this machine is not there.
            is_here = httpx2.URL(self._url).host in ("127.0.0.1", "localhost", "::1")
            response = httpx2.request(method, self._url + path, timeout=TIMEOUT_S, trust_env=not is_here, **options)
        except httpx2.ConnectError as error:
            raise Unanswered(f"nothing answers at {self._url}: start it with `make up`, or give --url") from error
        except httpx2.HTTPError as error:
            raise Unanswered(f"{self._url} did not answer: {error}") from error
        try:
            document: dict[str, Any] = response.json()
        except ValueError as error:
            raise CallError(f"{self._url} answered {response.status_code} without JSON: is it a gateway?") from error
        if response.is_error:
            raise CallError(f"{response.status_code}: {document.get('error', document)}")
        return document
