"""The REST dialect as a bare ASGI application: one table from fault to HTTP status, one executor for the work."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from contracts.tfserving_rest.answers import encode_error
from contracts.tfserving_rest.routes import Route, is_api, parse_route
from workers.tf.embedded.deadlines import Deadline
from workers.tf.embedded.faults import Code, fault_of
from workers.tf.embedded.metrics import Metrics
from workers.tf.embedded.rest_bodies import Disconnected, Receive, inflate, receive_body
from workers.tf.embedded.rest_calls import RestCalls

Headers = list[tuple[bytes, bytes]]
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
_CORS: Headers = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
]
_NOT_FOUND_PAGE = b"<html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>\n"


@dataclass(frozen=True)
class RestOptions:
    """`timeout_s` bounds a run, None leaves it alone; `metrics_path` is where metrics are told, "" for nowhere."""

    timeout_s: float | None = None
    has_cors: bool = False
    metrics_path: str = ""


@dataclass(frozen=True)
class _Request:
    method: str
    target: str
    headers: Headers

    def header(self, wanted: bytes) -> bytes:
        return next((value for name, value in self.headers if name == wanted), b"")


class RestApp:
    """Answers what is under /v1/, and the metrics path. Inference runs on `executor`, so that the loop never waits."""

    def __init__(self, calls: RestCalls, executor: Executor, metrics: Metrics, options: RestOptions) -> None:
        self._calls = calls
        self._executor = executor
        self._metrics = metrics
        self._options = options

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One HTTP request (ASGI 3)."""
        request = _Request(scope["method"], _target(scope), list(scope["headers"]))
        path = self._options.metrics_path
        if path and request.target.partition("?")[0] == path:
            await self._send_metrics(request, send)
        elif not is_api(request.target):
            await _send(send, 404, _NOT_FOUND_PAGE, [(b"content-type", b"text/html"), (b"connection", b"close")])
        else:
            try:
                received = await receive_body(receive)
            except Disconnected:
                return
            # From here on, as the original counts: a slow upload is not a slow inference.
            deadline = Deadline.after(self._options.timeout_s)
            loop = asyncio.get_running_loop()
            status, body = await loop.run_in_executor(self._executor, self._answer, request, received, deadline)
            await _send(send, status, body, [(b"content-type", _JSON), *(_CORS if self._options.has_cors else [])])

    def _answer(self, request: _Request, body: bytes, deadline: Deadline) -> tuple[int, bytes]:
        if request.method == "OPTIONS":
            origin = request.header(b"origin")
            return (200 if b"http://" in origin or b"https://" in origin else 400), b""
        route: Route | None = None
        started_s = time.monotonic()
        code = Code.OK
        try:
            route = parse_route(request.method, request.target)
            if request.header(b"content-encoding") == b"gzip":
                body = inflate(body)
            answer = self._calls.answer(route, body, deadline)
            if request.method == "POST":
                elapsed_us = (time.monotonic() - started_s) * 1e6
                self._metrics.request_latency.observe(elapsed_us, route.model, route.verb.value, "REST")
        except Exception as error:  # noqa: BLE001 - the edge of the dialect: every client gets an answer
            fault = fault_of(error)
            code, answer = fault.code, encode_error(fault.message)
        self._metrics.request_count.add("" if route is None else route.model, code.name)
        return HTTP_STATUS[code], answer

    async def _send_metrics(self, request: _Request, send: Send) -> None:
        headers = [(b"content-type", b"text/plain")]
        if request.target != self._options.metrics_path:
            await _send(send, 400, f"Unexpected path: {request.target}".encode("latin-1"), headers)
        else:
            await _send(send, 200, self._metrics.text().encode(), headers)


def _target(scope: MutableMapping[str, Any]) -> str:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")


async def _send(send: Send, status: int, body: bytes, headers: Headers) -> None:
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
