"""One HTTP exchange of any dialect: read within limits, hold the conversation, or say what went wrong.

Rules: a dialect brings a codec and nothing else; headers and statuses are the same for all of them. What is the same on
every transport is in gateway.protocols.conversation.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from gateway.core.errors import Cancelled, ServingError, TooLarge, TooSlow
from gateway.core.router import VersionRoute
from gateway.protocols.call import Call, Decode, Question, Reply
from gateway.protocols.content_coding import (
    COMPRESSED_FROM_BYTES,
    choose_coding,
    decode_content,
    encode_content,
    is_coded,
)
from gateway.protocols.conversation import Conversation, parse_version
from gateway.protocols.http_status import headers_of, status_of
from gateway.protocols.oip import encode_error
from gateway.protocols.witness import Account, Asker, Witness

log = logging.getLogger(__name__)

REQUEST_ID = "twinserve.request_id"
"""Where the request's id is in the ASGI scope."""

IS_WHOLE = "twinserve.is_whole"
"""In the ASGI scope once the body has come to its end: then nobody has to wait for it."""

IS_READ = "twinserve.is_read"
"""In the ASGI scope once somebody has read the body, or tried to."""

ROUTE = "twinserve.route"
"""In the ASGI scope the path with the names of its parameters, where FastAPI has not found the route."""

LONGEST_TOLD_PATH = 200
ACCOUNT = "twinserve.account"
"""Where the request's account is in the ASGI scope, if somebody tells of single requests."""

CLIENT_CLOSED = 499  # nobody reads it; nginx's number for a client that went away

HttpContent = tuple[bytes, dict[str, str]]
"""A body and the headers that describe it."""


@dataclass(frozen=True, slots=True)
class ExchangeLimits:
    """How large a body may be, also decompressed, and how long a client may take to send it."""

    body_bytes: int
    body_timeout_s: float


class Dialect(Protocol):
    """How errors look. `protocol` is the label in metrics."""

    @property
    def protocol(self) -> str: ...

    def encode_error(self, error: ServingError) -> bytes:
        """The JSON that tells it."""


class Codec(Dialect, Protocol):
    """A dialect whose routes name model and version, and whose bodies hold nothing but the question."""

    def decode(
        self, body: bytes, request: Request, route: VersionRoute
    ) -> Question[HttpContent] | Awaitable[Question[HttpContent]]:
        """Raises InvalidRequest, NotAnImage, TooLarge, Unsupported."""


class Exchange:
    """Runs inference exchanges over HTTP."""

    def __init__(self, conversation: Conversation, limits: ExchangeLimits) -> None:
        self._conversation = conversation
        self.limits = limits
        self._witness = conversation.witness

    async def run(self, codec: Codec, request: Request, model: str, version: str | None) -> Response:
        """Answer one inference request, with a response for every error of the core."""

        async def ask() -> Reply[HttpContent]:
            call = make_call(codec, request, model, parse_version(model, version))
            self._conversation.check_exists(call)  # what is not there is refused before its body is read
            body = await self.read(request)
            return await self._conversation.hold(call, lambda route: codec.decode(body, request, route))

        return await self.answer(codec, request, (model, version), ask)

    async def answer(
        self,
        dialect: Dialect,
        request: Request,
        asked: tuple[str, str | None],
        ask: Callable[[], Awaitable[Reply[HttpContent]]],
    ) -> Response:
        """What `ask` comes to, counted for `asked`, the model and version as the client wrote them."""
        account = None if self._witness is None else self._account_of(request, self._witness)
        try:
            with self._conversation.counting(dialect.protocol, *asked, account):
                reply = await ask()
        except Cancelled:
            return Answer(b"", {}, CLIENT_CLOSED)
        except ServingError as error:
            return error_response(error, dialect.encode_error(error))
        content, headers = reply.content
        if len(content) >= COMPRESSED_FROM_BYTES:
            content = await compress(content, headers, request.headers.get("accept-encoding", ""))
        if reply.engine:
            headers["X-Engine"] = reply.engine
        headers["X-Model-Version"] = str(reply.version)
        headers["Server-Timing"] = reply.server_timing
        return Answer(content, headers)

    @staticmethod
    def _account_of(request: Request, witness: Witness) -> Account:
        """The one that was begun for it, or else one from now on."""
        account: Account | None = request.scope.get(ACCOUNT)
        if account is None:
            account = request.scope[ACCOUNT] = witness.begin(asker_of(request, request.scope.get(REQUEST_ID, "")))
        return account

    async def hold(self, call: Call, decode: Decode[HttpContent]) -> Reply[HttpContent]:
        """See gateway.protocols.conversation.Conversation."""
        return await self._conversation.hold(call, decode)

    async def read(self, request: Request) -> bytes:
        """The whole body, decompressed. Raises TooSlow, TooLarge, Cancelled, UnknownCoding, InvalidRequest."""
        if IS_WHOLE in request.scope:
            body = await read_body(request, self.limits.body_bytes)
        else:
            body = await self._wait_for_body(request)
        coding = request.headers.get("content-encoding")
        if coding is None or not is_coded(coding):
            return body
        return await asyncio.to_thread(decode_content, body, coding, self.limits.body_bytes)

    async def _wait_for_body(self, request: Request) -> bytes:
        seconds = self.limits.body_timeout_s
        try:
            async with asyncio.timeout(seconds):
                return await read_body(request, self.limits.body_bytes)
        except TimeoutError as error:
            raise TooSlow(f"expected the whole body within {seconds:g} s") from error


def make_call(dialect: Dialect, request: Request, model: str, version: int | None) -> Call:
    """The call that a request makes; to be made when it arrives."""
    return Call(
        protocol=dialect.protocol,
        model=model,
        version=version,
        route_key=request.headers.get("x-route-key") or request.scope.get(REQUEST_ID, ""),
        engine=request.headers.get("x-engine"),
        account=request.scope.get(ACCOUNT),
    )


def asker_of(request: Request, request_id: str) -> Asker:
    """Who asks by a request, for whoever tells of single ones."""
    scope, given = request.scope, request.headers
    return Asker(
        request_id=request_id,
        method=scope["method"],
        path=scope["path"][:LONGEST_TOLD_PATH],
        route=str(scope.get(ROUTE) or getattr(scope.get("route"), "path", "")),
        traceparent=given.get("traceparent", ""),
        tracestate=given.get("tracestate", ""),
    )


def error_response(error: ServingError, body: bytes | None = None) -> Response:
    """The response for an error of the core; `body` tells it in the dialect's shape, else OIP's."""
    status = status_of(error)
    if status >= 500:
        log.warning("answered %d: %s", status, error.message)
    headers = {"Content-Type": "application/json", **headers_of(error)}
    if error.engine:
        headers["X-Engine"] = error.engine
    return Answer(encode_error(error.message) if body is None else body, headers, status)


class Answer(Response):
    """A whole body and its headers, encoded once; Starlette's own takes them apart and puts them together again."""

    def __init__(self, body: bytes, headers: Mapping[str, str], status: int = 200) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [
            (b"content-length", str(len(body)).encode()),
            *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()),
        ]


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body.

    Raises TooLarge as soon as it is known to be over the limit, before reading the rest; Cancelled without a client.
    """
    request.scope[IS_READ] = True
    announced: Any = request.headers.get("content-length")
    if announced is not None and announced.isdigit() and int(announced) > limit_bytes:
        raise TooLarge(f"expected a body of at most {limit_bytes} bytes, got {announced}")
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise Cancelled("the client went away")
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit_bytes:
            raise TooLarge(f"expected a body of at most {limit_bytes} bytes, got more")
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def compress(content: bytes, headers: dict[str, str], accepted: str) -> bytes:
    """The content of a large answer as the client accepts it; `headers` are told."""
    coding = choose_coding(accepted)
    headers["Vary"] = "Accept-Encoding"
    if coding is None:
        return content
    headers["Content-Encoding"] = coding
    return await asyncio.to_thread(encode_content, content, coding)
