"""Inference past ASGI and FastAPI, whose layers cost more than all else that an answer takes.

Rules: whatever is answered here is also a route of FastAPI's, which documents it and would give the same answer; the
two share the dialect's codec and the conversation. Only whole requests with plain paths are looked at; any other, and
any other way to write a path, goes on to FastAPI. Must not know what a connection is: it is given a request's head and
body and tells somebody the answer.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Message, Scope

from gateway.core.errors import Cancelled, NotFound, ServingError
from gateway.core.flight import Flight
from gateway.protocols.call import Call, Reply
from gateway.protocols.content_coding import COMPRESSED_FROM_BYTES, is_coded
from gateway.protocols.conversation import Conversation, parse_version
from gateway.protocols.exchange import (
    ACCOUNT,
    IS_WHOLE,
    REQUEST_ID,
    ROUTE,
    Codec,
    Exchange,
    HttpContent,
    asker_of,
    compress,
    error_response,
)
from gateway.protocols.request_id import new_request_id, request_id_from
from gateway.protocols.witness import Account

log = logging.getLogger(__name__)

LARGEST_BODY_BYTES = 4 * 1024 * 1024
"""Larger ones are read with a hold on their sender, which is not done here."""

HeaderList = Sequence[tuple[bytes, bytes]]
Tell = Callable[[int, bytes, bytes], None]
"""Called once, in the event loop, with status, header lines and body of an answer; perhaps before `begin` returns."""


class InferenceRoutes:
    """The POST routes whose path names a model, perhaps a version, and nothing else."""

    def __init__(self) -> None:
        self._routes: list[tuple[re.Pattern[str], Codec, str]] = []

    def add(self, path: str, codec: Codec) -> None:
        """Answer `path`, in which {model} and {version} stand for themselves, as FastAPI writes it."""
        pattern, _, _ = compile_path(path)
        self._routes.append((pattern, codec, path))

    def find(self, path: str) -> tuple[Codec, str, str | None, str] | None:
        """The codec, model and version that a path asks for, and the path as it was added."""
        for pattern, codec, route in self._routes:
            if (found := pattern.match(path)) is not None:
                named = found.groupdict()
                return codec, named["model"], named.get("version"), route
        return None


class _Headers(Headers):
    """Starlette's, which otherwise walks through all headers each time it is asked for one."""

    def __init__(self, raw: HeaderList) -> None:
        super().__init__(raw=list(raw))
        self._first = dict(reversed(raw))

    def get(self, key: str, default: Any = None) -> Any:
        value = self._first.get(key.lower().encode("latin-1"))
        return default if value is None else value.decode("latin-1")


class _Request(Request):
    def __init__(self, scope: Scope, headers: Headers, receive: Any = None) -> None:
        super().__init__(scope, receive)
        self._headers = headers


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request that is answered here. Any number of requests may have the same."""

    codec: Codec
    model: str
    version: str | None
    request: Request
    body_bytes: int
    request_id: str
    route_key: str
    engine: str | None
    accepted_codings: str

    @property
    def is_repeatable(self) -> bool:
        """Whether other requests may well have the very same: an id, or a span's, is another one each time."""
        return not self.request_id and "traceparent" not in self.request.headers


class Trip:
    """A request that is being answered; to be cancelled when nobody waits for the answer any more."""

    __slots__ = ("_conversation", "_tell", "account", "began", "flight", "head", "is_over", "request_id", "task")

    def __init__(self, conversation: Conversation, head: Head, tell: Tell) -> None:
        self._conversation = conversation
        self._tell = tell
        self.head = head
        self.request_id = request_id_from(head.request_id) if head.request_id else new_request_id()
        self.began = perf_counter()
        self.account: Account | None = None
        self.flight: Flight | None = None
        self.task: asyncio.Task[None] | None = None
        self.is_over = False

    def cancel(self) -> None:
        """End it without an answer. Idempotent, and nothing once it was answered."""
        if self.is_over:
            return
        self.is_over = True
        if self.task is not None:
            self.task.cancel()  # which counts for itself
        else:
            if self.flight is not None:
                self.flight.cancel()
                self.flight = None
            self._count(Cancelled("nobody waits for the answer any more"))

    def finish(self, reply: Reply[HttpContent]) -> None:
        """Tell the answer."""
        content, headers = reply.content
        lines = [f"content-length: {len(content)}"]
        for name, value in headers.items():
            lines.append(f"{name}: {value}")
        if reply.engine:
            lines.append(f"x-engine: {reply.engine}")
        lines.append(
            f"x-model-version: {reply.version}\r\nserver-timing: {reply.server_timing}\r\n"
            f"x-request-id: {self.request_id}\r\n"
        )
        self._end()
        self._tell(200, "\r\n".join(lines).encode("latin-1"), content)

    def refuse(self, error: ServingError) -> None:
        """Count and tell what went wrong."""
        self._count(error)
        self.tell(error_response(error, self.head.codec.encode_error(error)))

    def tell(self, response: Response) -> None:
        """Tell what was answered and counted elsewhere."""
        self._end()
        lines = [b"%s: %s\r\n" % line for line in response.raw_headers]
        lines.append(b"x-request-id: %s\r\n" % self.request_id.encode())
        self._tell(response.status_code, b"".join(lines), bytes(response.body))

    def _end(self) -> None:
        self.is_over = True
        self.flight = None  # which holds this trip in turn: both would wait for the collector, with the body

    def _count(self, error: ServingError) -> None:
        head = self.head
        self._conversation.count_failure(head.codec.protocol, head.model, head.version, error, self.began, self.account)


class Express:
    """Answers the inference routes."""

    def __init__(self, exchange: Exchange, conversation: Conversation, routes: InferenceRoutes) -> None:
        self._exchange = exchange
        self._conversation = conversation
        self._witness = conversation.witness
        self._routes = routes
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, method: bytes, target: bytes, headers: HeaderList) -> Head | None:
        """What a head asks for; None when it is for FastAPI to answer. Names of headers are in lower case."""
        if method != b"POST" or b"%" in target or b"?" in target:
            return None
        path = target.decode("latin-1")
        found = self._routes.find(path)
        if found is None:
            return None
        named = dict(reversed(headers))
        length = named.get(b"content-length", b"")
        is_plain = not any(name in named for name in (b"transfer-encoding", b"expect", b"upgrade"))
        is_kept = named.get(b"connection", b"keep-alive").lower() == b"keep-alive"
        if not (is_plain and is_kept and length.isdigit() and len(length) < 12):
            return None
        if int(length) > min(LARGEST_BODY_BYTES, self._exchange.limits.body_bytes):
            return None
        given = _Headers(headers)
        if is_coded(given.get("content-encoding")):
            return None
        codec, model, version, route = found
        scope: Scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "root_path": "",
            "path": path,
            "raw_path": target,
            "query_string": b"",
            "headers": list(headers),
            ROUTE: route,
        }
        request_id = given.get("x-request-id", "")
        return Head(
            codec=codec,
            model=model,
            version=version,
            request=_Request(scope, given),
            body_bytes=int(length),
            request_id=request_id,
            route_key=given.get("x-route-key", ""),
            engine=given.get("x-engine"),
            accepted_codings=given.get("accept-encoding", ""),
        )

    def begin(self, head: Head, body: bytes, tell: Tell) -> Trip:
        """Answer a request."""
        trip = Trip(self._conversation, head, tell)
        if self._witness is not None:
            trip.account = self._witness.begin(asker_of(head.request, trip.request_id))
        try:
            call = Call(
                protocol=head.codec.protocol,
                model=head.model,
                version=parse_version(head.model, head.version),
                route_key=head.route_key or trip.request_id,
                engine=head.engine,
                started=trip.began,
                account=trip.account,
            )
            decode = partial(head.codec.decode, body, head.request)
            flight = self._conversation.start(call, decode, partial(self._land, trip, body))
            if flight is None:
                self._go_aside(trip, self._hold(trip, body))
            elif not trip.is_over:
                trip.flight = flight
        except ServingError as error:
            trip.refuse(error)
        except Exception:
            log.exception("a bug kept a request from being answered")
            trip.refuse(ServingError("internal error; see the gateway's log"))
        return trip

    def _land(self, trip: Trip, body: bytes, outcome: Reply[HttpContent] | ServingError) -> None:
        if isinstance(outcome, Reply):
            if len(outcome.content[0]) < COMPRESSED_FROM_BYTES:
                trip.finish(outcome)
            else:
                self._go_aside(trip, self._compress(trip, outcome))
        elif isinstance(outcome, NotFound) and trip.head.version is None:
            self._go_aside(trip, self._hold(trip, body))  # the version left; another one may answer
        else:
            trip.refuse(outcome)

    def _go_aside(self, trip: Trip, rest: Coroutine[Any, Any, None]) -> None:
        """Let a task do what has to be waited for."""

        async def guarded() -> None:
            try:
                await rest
            except Exception:
                log.exception("a bug kept a request from being answered")
                trip.refuse(ServingError("internal error; see the gateway's log"))

        trip.task = task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hold(self, trip: Trip, body: bytes) -> None:
        head = trip.head

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        scope = {**head.request.scope, REQUEST_ID: trip.request_id, IS_WHOLE: True, ACCOUNT: trip.account}
        request = _Request(scope, head.request.headers, receive)
        trip.tell(await self._exchange.run(head.codec, request, head.model, head.version))

    async def _compress(self, trip: Trip, reply: Reply[HttpContent]) -> None:
        content, headers = reply.content
        content = await compress(content, headers, trip.head.accepted_codings)
        trip.finish(reply._replace(content=(content, headers)))
