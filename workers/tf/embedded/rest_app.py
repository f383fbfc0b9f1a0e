"""The REST dialect as a bare ASGI application: one table from fault to HTTP status, one handler a verb."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

from workers.tf.embedded.faults import Code, fault_of
from workers.tf.embedded.lookup import ModelRequest
from workers.tf.embedded.manager import Manager
from workers.tf.embedded.prediction import SIGNATURE_DEF, Prediction
from workers.tf.embedded.rest_routes import Verb, is_api, parse_route
from workers.tf.embedded.savedmodel import SavedModel
from workers.tf.embedded.status import encode_status

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

HTTP_STATUS: dict[Code, int] = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}

_JSON = b"application/json"
_NOT_FOUND_PAGE = b"<html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>\n"


class RestApp:
    """Answers GET status and metadata; every other request under /v1/ is malformed so far."""

    def __init__(self, manager: Manager[SavedModel], prediction: Prediction) -> None:
        self._manager = manager
        self._prediction = prediction
        self._handlers: dict[Verb, Callable[[ModelRequest], bytes]] = {
            Verb.STATUS: self._status,
            Verb.METADATA: self._metadata,
        }

    async def __call__(self, scope: MutableMapping[str, Any], _receive: Receive, send: Send) -> None:
        """One HTTP request (ASGI 3)."""
        target = _target(scope)
        if not is_api(target):
            await _send(send, 404, _NOT_FOUND_PAGE, [(b"content-type", b"text/html"), (b"connection", b"close")])
            return
        status, body = self._answer(scope["method"], target, _header(scope, b"origin"))
        await _send(send, status, body, [(b"content-type", _JSON)])

    def _answer(self, method: str, target: str, origin: bytes) -> tuple[int, bytes]:
        if method == "OPTIONS":
            return (200 if b"http://" in origin or b"https://" in origin else 400), b""
        try:
            route = parse_route(method, target)
            return 200, self._handlers[route.verb](route.target)
        except Exception as error:  # noqa: BLE001 - the edge of the dialect: every client gets an answer
            fault = fault_of(error)
            return HTTP_STATUS[fault.code], encode_error(fault.message)

    def _status(self, target: ModelRequest) -> bytes:
        return _document(encode_status(target, self._manager.statuses(target.model)))

    def _metadata(self, target: ModelRequest) -> bytes:
        request: Any = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=[SIGNATURE_DEF])
        request.model_spec.name = target.model
        if target.version is not None:
            request.model_spec.version.value = target.version
        elif target.label is not None:
            request.model_spec.version_label = target.label
        return _document(self._prediction.metadata(request))


def encode_error(message: str) -> bytes:
    """The error body: an object with the one key "error"."""
    return json.dumps({"error": message}, indent=4, ensure_ascii=False).encode()


def _document(message: Any) -> bytes:
    text = json_format.MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=4
    )
    return text.encode() + b"\n"


def _target(scope: MutableMapping[str, Any]) -> str:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")


def _header(scope: MutableMapping[str, Any], wanted: bytes) -> bytes:
    return next((value for name, value in scope["headers"] if name == wanted), b"")


async def _send(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
