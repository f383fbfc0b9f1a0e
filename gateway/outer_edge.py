"""What every HTTP answer goes through last, whichever route gave it."""

import asyncio
import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.core.errors import ServingError
from gateway.protocols.exchange import IS_READ, REQUEST_ID, error_response
from gateway.protocols.request_id import request_id_from

log = logging.getLogger(__name__)

DRAINED_BYTES = 64 * 1024
DRAIN_TIMEOUT_S = 5.0


class OuterEdge:
    """Gives every answer an X-Request-Id (the client's own when it is a printable word), and bugs an answer.

    A refusal that comes before its request's body waits for a small one, and ends the connection before a large one:
    what is left unread would be taken for the next request, or reset the connection under the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_from(_header(scope, b"x-request-id"))
        scope[REQUEST_ID] = request_id

        has_started = False

        async def send_with_id(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
                is_early = message["status"] >= 400 and IS_READ not in scope and _has_body(scope)
                if is_early and not await _drain(scope, receive):
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            if has_started:
                raise
            log.exception("a bug answered 500")
            await error_response(ServingError("internal error; see the gateway's log"))(scope, receive, send_with_id)


def _header(scope: Scope, name: bytes) -> str:
    """The first header of this name, which ASGI gives in lower case; else empty."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return ""


def _has_body(scope: Scope) -> bool:
    return _header(scope, b"content-length") not in ("", "0") or bool(_header(scope, b"transfer-encoding"))


async def _drain(scope: Scope, receive: Receive) -> bool:
    """Read a small body to its end; False when it is large, or does not come."""
    announced = _header(scope, b"content-length")
    if not announced.isdigit() or int(announced) > DRAINED_BYTES:
        return False
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return False
                if not message.get("more_body", False):
                    return True
    except TimeoutError:
        return False
