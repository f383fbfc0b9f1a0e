"""What a gateway's client says and hears: requests made, answers read, faults in words; without any connection."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from numpy.typing import ArrayLike

from contracts.oip_bodies import HEADER_LENGTH, Array, BadAnswer, decode_answer, encode_request

TIMEOUT_S = 60.0
_GRACE_S = 5.0
_HERE = ("127.0.0.1", "localhost", "::1")
_BAD_REQUEST = 400
_UNAUTHENTICATED = 401
_NOT_HERE = (404, 405)
_SHOWN = 200
_TOKEN_LIES = "in .twinserve/admin-token of the folder where `twinserve up` runs (of containers: docs/operations.md)"  # noqa: S105


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
    """What a client may ask beside its tensors; what it leaves out is up to the gateway.

    `version`: else the live one. `engine`: torchserve or tfserving, else routing decides. `outputs`: by name, else all.
    `timeout_s`: the deadline in seconds, else the gateway's. `request_id`: else the gateway makes one.
    """

    version: int | None = None
    engine: str | None = None
    outputs: Sequence[str] = ()
    timeout_s: float | None = None
    request_id: str | None = None


@dataclass(frozen=True)
class Call:
    """One request: method, path below the gateway's URL, and what httpx2 is given beside them."""

    method: str
    path: str
    options: Mapping[str, Any] = field(default_factory=dict)


READY = Call("GET", "/v2/health/ready")


def base_of(url: str) -> str:
    """The gateway's URL without a slash at its end, and with the scheme that people leave out."""
    return (url if "://" in url else f"http://{url}").rstrip("/")


def trusts_environment(url: str) -> bool:
    """A proxy is for the world outside; a gateway on this machine is not there. Raises CallError for no URL."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise CallError(f"{url!r} is no URL of a gateway: {error}; expected http://host:port") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise CallError(f"{url!r} is no URL of a gateway: expected http://host:port")
    return parsed.host not in _HERE


def metadata_call(model: str, version: int | None) -> Call:
    """What the model takes and gives."""
    return Call("GET", _model_path(model, version))


def _model_path(model: str, version: int | None) -> str:
    return f"/v2/models/{model}" + ("" if version is None else f"/versions/{version}")


def infer_call(model: str, inputs: Mapping[str, ArrayLike], wishes: Wishes) -> Call:
    """An inference of these tensors, as raw bytes. Raises CallError for what is no tensor, TypeError without names."""
    if not isinstance(inputs, Mapping):
        raise TypeError(f"expected a mapping of input names to arrays, got {type(inputs).__name__}")
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
    return Call("POST", path, options)


def classify_call(model: str, pictures: Sequence[Path | str], engine: str | None, invert: str) -> Call:
    """A classification of these files. Raises OSError, and TypeError for one path that is in no list."""
    if isinstance(pictures, str | Path):  # a str would be taken for a list of paths of one character
        raise TypeError(f"expected a list of picture files, got {type(pictures).__name__}")
    files = [("image", (path.name, path.read_bytes())) for path in map(Path, pictures)]
    headers = {"X-Engine": engine} if engine else {}
    path = f"/models/{model}/classify"
    return Call("POST", path, {"params": {"invert": invert}, "files": files, "headers": headers})


def operator_call(token: str | None, method: str, path: str, order: dict[str, Any] | None = None) -> Call:
    """What operators alone may ask. Raises CallError without their token."""
    if token is None:
        raise CallError(
            f"this needs the operators' token, which lies {_TOKEN_LIES}: run it there, or set TWINSERVE_ADMIN_TOKEN"
        )
    headers = {"Authorization": f"Bearer {token}"}
    return Call(method, f"/admin/models{path}", {"json": order, "headers": headers})


def may_fit(response: httpx2.Response) -> bool:
    """Whether the gateway refused the tensors themselves, so that others might do."""
    return response.status_code == _BAD_REQUEST


def read_answer(url: str, model: str, response: httpx2.Response) -> Answer:
    """An inference's answer. Raises CallError."""
    if response.is_error:
        read_json(url, response)
    said = response.headers
    try:
        outputs = decode_answer(response.content, said.get(HEADER_LENGTH))
        version = int(said["X-Model-Version"])
    except (BadAnswer, KeyError, ValueError) as error:
        raise CallError(f"{url} answered with no inference answer: {error}") from error
    return Answer(outputs, model, version, said.get("X-Engine", ""), said.get("X-Request-Id", ""))


def read_json(url: str, response: httpx2.Response) -> dict[str, Any]:
    """The object that was answered. Raises CallError for a refusal, and for what no gateway answers."""
    try:
        document = json.loads(response.content)
    except ValueError as error:
        raise CallError(f"{url} is no twinserve gateway: it answered {response.status_code} without JSON") from error
    if not isinstance(document, dict) or (response.is_error and "error" not in document):
        raise CallError(f"{url} is no twinserve gateway: it answered {response.status_code}, {_shortened(document)}")
    if response.is_error:
        raise _refused(response.status_code, document["error"])
    return document


def read_state(url: str, response: httpx2.Response) -> dict[str, Any]:
    """The platform's state, which every gateway has: whoever has none is no gateway. Raises CallError."""
    if response.status_code in _NOT_HERE:
        raise CallError(f"{url} is no twinserve gateway: it answered {response.status_code} to GET /admin/models")
    document = read_json(url, response)
    if not {"ready", "engines", "models"} <= document.keys():
        raise CallError(f"{url} is no twinserve gateway: it answered {_shortened(document)}")
    return document


def _refused(status: int, reason: object) -> CallError:
    if status == _UNAUTHENTICATED:
        reason = (
            f"the operators' token is wrong; the right one lies {_TOKEN_LIES} "
            "(TWINSERVE_ADMIN_TOKEN, where it is set, goes before that file)"
        )
    refused = CallError(f"{status}: {reason}")
    refused.status = status
    return refused


def _shortened(document: object) -> str:
    text = json.dumps(document)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def unanswered(url: str, error: httpx2.HTTPError) -> Unanswered:
    """No answer, in words."""
    if isinstance(error, httpx2.ConnectError):
        return Unanswered(f"nothing answers at {url}: start it with `make up`, or give its URL")
    if isinstance(error, httpx2.RemoteProtocolError):
        return Unanswered(f"{url} did not answer as a gateway does over HTTP: {error}")
    return Unanswered(f"{url} did not answer: {error}")
