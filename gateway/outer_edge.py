"""What every HTTP answer goes through last, whichever route gave it."""

import asyncio
import logging

from starlette.datastructures import Headers, MutableHeaders
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
        headers = Headers(scope=scope)
        request_id = request_id_from(headers.get("x-request-id", ""))
        scope[REQUEST_ID] = request_id

        has_started = False

        async def send_with_id(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                answered = MutableHeaders(scope=message)
                answered["X-Request-Id"] = request_id
                is_early = message["status"] >= 400 and IS_READ not in scope and _has_body(headers)
                if is_early and not await _drain(headers, receive):
                    answered["Connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            if has_started:
                raise
            log.exception("a bug answered 500")
            await error_response(ServingError("internal error; see the gateway's log"))(scope, receive, send_with_id)


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


async def _drain(headers: Headers, receive: Receive) -> bool:
    """Read a small body to its end; False when it is large, or does not come."""
    announced = headers.get("content-length", "")
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
