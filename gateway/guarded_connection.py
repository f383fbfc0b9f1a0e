"""A connection of uvicorn's, with bounds on what it may cost before a request is whole.

httptools parses without limits of its own: a head could grow for ever, or never end. Bodies are bounded where they
are read (gateway.protocols.exchange).
"""

import asyncio
import enum
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.protocols.exchange import IS_WHOLE

HEAD_LIMIT_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 10.0
MOST_CONNECTIONS = 4096

_REFUSALS = {
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}


class Part(enum.Enum):
    """What the next bytes of a connection belong to."""

    NOTHING = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


class _Parser:
    """httptools' parser, deaf to `Upgrade`, which a server may ignore (RFC 9110 section 7.8).

    llhttp ends a request that offers one at its head, and leaves its body to the protocol that nobody speaks here: read
    as HTTP it would be another request. curl and Java's client offer h2c with every kind of request.
    """

    def __init__(self, protocol: "GuardedProtocol") -> None:
        self._protocol = protocol
        self._begin()

    def _begin(self) -> None:
        self._parser: Any = httptools.HttpRequestParser(self._protocol)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets its own
        self.get_http_version = self._parser.get_http_version
        self.get_method = self._parser.get_method
        self.should_keep_alive = self._parser.should_keep_alive
        self.offers_upgrade = self._parser.should_upgrade

    def should_upgrade(self) -> bool:
        """Never, whatever is offered."""
        return False

    def feed_data(self, data: bytes) -> None:
        """Parse. Raises httptools.HttpParserError."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.get_method() == b"CONNECT":
                return  # refused; what follows is not for us
            head = self._protocol.plain_head()
            self._begin()
            self.feed_data(head + data[upgrade.args[0] :])


class GuardedProtocol(HttpToolsProtocol):
    """A connection whose head must be whole within a time and a size; the rest is uvicorn's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._parser = _Parser(self)
        self.parser = self._parser  # type: ignore[assignment]
        self.part = Part.NOTHING
        self.has_progressed = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            self._refuse(503)
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self.forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self.has_progressed = False
        super().data_received(data)
        if self.part is Part.BODY or (self.has_progressed and self.part is Part.NOTHING):
            return
        if self._head_timer is None:
            self._expect_head()
        # The bytes in which a head began may have ended the body before it; only those that follow count.
        if not self.has_progressed:
            self._head_bytes += len(data)
        if self._head_bytes > HEAD_LIMIT_BYTES:
            self._refuse(431)

    def on_message_begin(self) -> None:
        self.part = Part.HEAD
        self.has_progressed = True
        super().on_message_begin()

    def plain_head(self) -> bytes:
        """The head that was read last, without what it offers to upgrade to."""
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%s: %s" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def on_headers_complete(self) -> None:
        if self.parser.get_method() == b"CONNECT":
            self._refuse(405)
        if self._parser.offers_upgrade():
            return  # it is read once more
        self.part = Part.BODY
        self.forget_head()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self._parser.offers_upgrade():
            return
        self.part = Part.NOTHING
        self.has_progressed = True
        self.scope[IS_WHOLE] = True  # type: ignore[literal-required]
        super().on_message_complete()

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._time_out_head)

    def forget_head(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def on_response_complete(self) -> None:
        # What is being read may be the body of the next request already, sent before this one was answered.
        is_of_the_last = self.cycle.response_complete
        super().on_response_complete()
        if self.part is Part.BODY and is_of_the_last and not self.transport.is_closing():
            self.transport.close()  # answered without its body, which nobody will read

    def _time_out_head(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, whatever uvicorn declares
        if cycle is not None and not cycle.response_complete:
            self._expect_head()  # the answer to the request before comes first
        else:
            self._refuse(408)

    def _refuse(self, status: int) -> None:
        self.forget_head()
        if not self.transport.is_closing():
            head = b"HTTP/1.1 %d %s\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % (status, _REFUSALS[status])
            self.transport.write(head)
            self.transport.close()
