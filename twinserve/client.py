"""A gateway's HTTP client, synchronous and asynchronous: inference, pictures, and what operators do.

    with GatewayClient("http://127.0.0.1:8000") as gateway:
        logits = gateway.infer("mnist", {"images": images}).outputs["logits"]

Within `with` (or `async with`) connections are kept; outside of it each call has one of its own. Everything raises
CallError with a message for the person at the terminal, and nothing else.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import numpy as np

from contracts.oip_bodies import HEADER_LENGTH, Array, BadAnswer, decode_answer, encode_request

TIMEOUT_S = 60.0
_GRACE_S = 5.0
_HERE = ("127.0.0.1", "localhost", "::1")


class CallError(Exception):
    """The gateway could not be reached, or refused: then `status` is its HTTP status."""

    status: int | None = None


class Unanswered(CallError):
    """Nobody answers at the gateway's address, or not to the end."""


@dataclass(frozen=True)
class Answer:
    """What a model gave: tensors by name, and which version on which engine gave them."""

    outputs: Mapping[str, Array]
    model: str
    version: int
    engine: str
    request_id: str


@dataclass(frozen=True)
class Wishes:
    """What a client may ask beside its tensors; `timeout_s` is the deadline, `outputs` () is all of them."""

    version: int | None = None
    engine: str | None = None
    outputs: Sequence[str] = ()
    timeout_s: float | None = None
    request_id: str | None = None


@dataclass(frozen=True)
class _Call:
    method: str
    path: str
    options: Mapping[str, Any] = field(default_factory=dict)


class GatewayClient:
    """One gateway, by URL; `token` is the operators'."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._kept: httpx2.Client | None = None

    def __enter__(self) -> Self:
        self._kept = httpx2.Client(timeout=TIMEOUT_S, trust_env=_trusts_environment(self._url))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def infer(self, model: str, inputs: Mapping[str, Array], wishes: Wishes | None = None) -> Answer:
        """The model's answer to tensors by name. Raises CallError."""
        return _read_answer(self._url, model, self._send(_infer(model, inputs, wishes or Wishes())))

    def is_ready(self) -> bool:
        """Whether every model's live version can be answered. Raises Unanswered."""
        return self._send(_READY).is_success

    def metadata(self, model: str, version: int | None = None) -> dict[str, Any]:
        """The model's inputs, outputs and versions. Raises CallError."""
        return self._call(_Call("GET", _model_path(model, version)))

    def classify(self, model: str, pictures: Sequence[Path], engine: str | None, invert: str) -> dict[str, Any]:
        """The gateway's answer for these picture files. Raises CallError, OSError."""
        return self._call(_classify(model, pictures, engine, invert))

    def state(self) -> dict[str, Any]:
        """Engines, models and versions, as operators see them. Raises CallError."""
        return self._call(_operate(self._token, "GET", ""))

    def model_state(self, model: str) -> dict[str, Any]:
        """One model: versions, ledger, routing, the last rollout. Raises CallError."""
        return self._call(_operate(self._token, "GET", f"/{model}"))

    def promote(self, model: str, order: dict[str, Any]) -> dict[str, Any]:
        """Begin a promote (gateway.admin.PromoteOrder); returns the rollout so far. Raises CallError."""
        return self._call(_operate(self._token, "POST", f"/{model}/promote", order))

    def roll_back(self, model: str, order: dict[str, Any]) -> dict[str, Any]:
        """Begin a rollback; returns the rollout so far. Raises CallError."""
        return self._call(_operate(self._token, "POST", f"/{model}/rollback", order))

    def set_routing(self, model: str, order: dict[str, Any]) -> dict[str, Any]:
        """Change the engines' shares and the mirror's; returns the model's state. Raises CallError."""
        return self._call(_operate(self._token, "PUT", f"/{model}/routing", order))

    def _call(self, call: _Call) -> dict[str, Any]:
        return _read_document(self._url, self._send(call))

    def _send(self, call: _Call) -> httpx2.Response:
        url = self._url + call.path
        try:
            if self._kept is not None:
                return self._kept.request(call.method, url, **call.options)
            options: dict[str, Any] = {"timeout": TIMEOUT_S, **call.options}
            return httpx2.request(call.method, url, trust_env=_trusts_environment(self._url), **options)
        except httpx2.HTTPError as error:
            raise _unanswered(self._url, error) from error


class AsyncGatewayClient:
    """The same for an event loop; to be used within `async with`."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._kept = httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=_trusts_environment(self._url))

    async def __aenter__(self) -> Self:
        await self._kept.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._kept.aclose()

    async def infer(self, model: str, inputs: Mapping[str, Array], wishes: Wishes | None = None) -> Answer:
        """See GatewayClient."""
        return _read_answer(self._url, model, await self._send(_infer(model, inputs, wishes or Wishes())))

    async def is_ready(self) -> bool:
        """See GatewayClient."""
        return (await self._send(_READY)).is_success

    async def metadata(self, model: str, version: int | None = None) -> dict[str, Any]:
        """See GatewayClient."""
        return await self._call(_Call("GET", _model_path(model, version)))

    async def classify(self, model: str, pictures: Sequence[Path], engine: str | None, invert: str) -> dict[str, Any]:
        """See GatewayClient. Reads the files in the event loop."""
        return await self._call(_classify(model, pictures, engine, invert))

    async def state(self) -> dict[str, Any]:
        """See GatewayClient."""
        return await self._call(_operate(self._token, "GET", ""))

    async def model_state(self, model: str) -> dict[str, Any]:
        """See GatewayClient."""
        return await self._call(_operate(self._token, "GET", f"/{model}"))

    async def promote(self, model: str, order: dict[str, Any]) -> dict[str, Any]:
        """See GatewayClient."""
        return await self._call(_operate(self._token, "POST", f"/{model}/promote", order))

    async def roll_back(self, model: str, order: dict[str, Any]) -> dict[str, Any]:
        """See GatewayClient."""
        return await self._call(_operate(self._token, "POST", f"/{model}/rollback", order))

    async def set_routing(self, model: str, order: dict[str, Any]) -> dict[str, Any]:
        """See GatewayClient."""
        return await self._call(_operate(self._token, "PUT", f"/{model}/routing", order))

    async def _call(self, call: _Call) -> dict[str, Any]:
        return _read_document(self._url, await self._send(call))

    async def _send(self, call: _Call) -> httpx2.Response:
        try:
            return await self._kept.request(call.method, self._url + call.path, **call.options)
        except httpx2.HTTPError as error:
            raise _unanswered(self._url, error) from error


_READY = _Call("GET", "/v2/health/ready")


def _trusts_environment(url: str) -> bool:
    """A proxy is for the world outside; a gateway on this machine is not there."""
    try:
        return httpx2.URL(url).host not in _HERE
    except httpx2.InvalidURL as error:
        raise CallError(f"{url!r} is no URL of a gateway: {error}") from error


def _model_path(model: str, version: int | None) -> str:
    return f"/v2/models/{model}" + ("" if version is None else f"/versions/{version}")


def _infer(model: str, inputs: Mapping[str, Array], wishes: Wishes) -> _Call:
    parameters = {} if wishes.timeout_s is None else {"timeout": round(wishes.timeout_s * 1e6)}
    try:
        tensors = {name: np.asarray(tensor) for name, tensor in inputs.items()}
        body, headers = encode_request(tensors, wishes.outputs, parameters)
    except ValueError as error:
        raise CallError(str(error)) from error
    headers |= {} if wishes.engine is None else {"X-Engine": wishes.engine}
    headers |= {} if wishes.request_id is None else {"X-Request-Id": wishes.request_id}
    path = _model_path(model, wishes.version) + "/infer"
    options: dict[str, Any] = {"content": body, "headers": headers}
    if wishes.timeout_s is not None:  # the gateway says when it is over; we wait a little longer
        options["timeout"] = max(TIMEOUT_S, wishes.timeout_s + _GRACE_S)
    return _Call("POST", path, options)


def _classify(model: str, pictures: Sequence[Path], engine: str | None, invert: str) -> _Call:
    files = [("image", (path.name, path.read_bytes())) for path in pictures]
    headers = {"X-Engine": engine} if engine else {}
    path = f"/models/{model}/classify"
    return _Call("POST", path, {"params": {"invert": invert}, "files": files, "headers": headers})


def _operate(token: str | None, method: str, path: str, order: dict[str, Any] | None = None) -> _Call:
    if token is None:
        raise CallError("this needs the operators' token: set TWINSERVE_ADMIN_TOKEN, or run it where `up` runs")
    headers = {"Authorization": f"Bearer {token}"}
    return _Call(method, f"/admin/models{path}", {"json": order, "headers": headers})


def _read_answer(url: str, model: str, response: httpx2.Response) -> Answer:
    if response.is_error:
        _read_document(url, response)
    said = response.headers
    try:
        outputs = decode_answer(response.content, said.get(HEADER_LENGTH))
        version = int(said["X-Model-Version"])
    except (BadAnswer, KeyError, ValueError) as error:
        raise CallError(f"{url} answered with no inference answer: {error}") from error
    return Answer(outputs, model, version, said.get("X-Engine", ""), said.get("X-Request-Id", ""))


def _read_document(url: str, response: httpx2.Response) -> dict[str, Any]:
    try:
        document = json.loads(response.content)
    except ValueError as error:
        raise CallError(f"{url} answered {response.status_code} without JSON: is it a gateway?") from error
    if not isinstance(document, dict):
        raise CallError(f"{url} answered {response.status_code} with JSON that is no object: is it a gateway?")
    if response.is_error:
        refused = CallError(f"{response.status_code}: {document.get('error', document)}")
        refused.status = response.status_code
        raise refused
    return document


def _unanswered(url: str, error: httpx2.HTTPError) -> Unanswered:
    if isinstance(error, httpx2.ConnectError):
        return Unanswered(f"nothing answers at {url}: start it with `make up`, or give --url")
    return Unanswered(f"{url} did not answer: {error}")
