"""A connection that takes whole inference requests past ASGI.

Rules: requests are looked at here only between two others, never while one is read or answered, so that answers keep
their order. Whatever is not plain is uvicorn's: it is handed the very bytes that came. A request whose body does not
come at once is given back to uvicorn as well, whose app knows how long to wait for it.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from gateway.core.readiness import Notice
from gateway.guarded_connection import GuardedProtocol, Part
from gateway.protocols.express import Express, Head, HeaderList, Trip

BODY_PATIENCE_S = 1.0
MOST_HELD_BYTES = 64 * 1024
_LONGEST_KNOWN_BYTES = 2048
_MOST_KNOWN = 512
_END = b"\r\n\r\n"


class KnownHeads:
    """Heads that were parsed before, by their bytes: a client sends the same one over and over. The oldest go first."""

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}
        self._server_headers: HeaderList = ()
        self._server_lines = b""

    def get(self, head: bytes) -> Head | None:
        """What a parser made of these bytes."""
        return self._heads.get(head)

    def add(self, data: bytes, head: Head) -> None:
        """Remember what these bytes mean, unless they are not likely to come again."""
        if len(data) > _LONGEST_KNOWN_BYTES or not head.is_repeatable:
            return
        if len(self._heads) >= _MOST_KNOWN:
            del self._heads[next(iter(self._heads))]
        self._heads[data] = head

    def server_lines(self, headers: HeaderList) -> bytes:
        """The headers that uvicorn gives every answer; a list that it replaces every second."""
        if headers is not self._server_headers:
            self._server_headers = headers
            self._server_lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        return self._server_lines


@dataclass(slots=True)
class _Incoming:
    """A request whose head is read; `sent` is what it came in, and how long its head is."""

    head: Head
    sent: tuple[bytes, int]
    body: bytearray = field(default_factory=bytearray)
    patience: asyncio.TimerHandle | None = None


class ExpressProtocol(GuardedProtocol):
    """uvicorn's connection, with inference past it. Once notice is given every answer is the last of its connection."""

    def __init__(self, *args: Any, express: Express, known: KnownHeads, notice: Notice, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._express = express
        self._known = known
        self._notice = notice
        self._trip: Trip | None = None
        self._incoming: _Incoming | None = None
        self._sent: tuple[bytes, int] | None = None
        self._held = b""
        self._is_last = False
        self._answered_at = 0.0

    def data_received(self, data: bytes) -> None:
        if self._trip is not None or self._held:
            self._hold_back(data)
            return
        if self._incoming is not None:
            if len(self._incoming.body) + len(data) > self._incoming.head.body_bytes:
                self._give_back()  # there is more than one request in it
        elif self._is_between():
            end = data.find(_END) + len(_END)
            if end >= len(_END):
                head = self._known.get(data[:end])
                if head is not None and len(data) - end == head.body_bytes:
                    self.forget_head()
                    self._answer(head, data[end:])
                    return
                # A parser takes empty lines before a request for nothing, and the end of a head is elsewhere then.
                if data.startswith(b"POST "):
                    self._sent = (data, end)
        super().data_received(data)
        self._sent = None
        if self._incoming is not None and self._incoming.patience is None:
            self._incoming.patience = self.loop.call_later(BODY_PATIENCE_S, self._give_back)

    def _is_between(self) -> bool:
        """Whether nothing is under way: what comes now begins a request."""
        cycle: RequestResponseCycle | None = self.cycle  # None before uvicorn's first request, whatever it declares
        return (
            self.part is Part.NOTHING
            and (cycle is None or cycle.response_complete)
            and not self.pipeline
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def on_headers_complete(self) -> None:
        sent, self._sent = self._sent, None  # it is the first head in these bytes alone
        head = None
        if sent is not None and self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive():
            head = self._express.find(self.parser.get_method(), self.url, self.headers)
        if head is None or sent is None or len(sent[0]) - sent[1] > head.body_bytes:
            self._begin_cycle()
            return
        self.part = Part.BODY
        self.forget_head()
        self._incoming = _Incoming(head, sent)

    def on_body(self, body: bytes) -> None:
        if self._incoming is None:
            super().on_body(body)
        else:
            self._incoming.body += body

    def on_message_complete(self) -> None:
        incoming = self._take_incoming()
        if incoming is None:
            super().on_message_complete()
            return
        self.part = Part.NOTHING
        self.has_progressed = True
        data, end = incoming.sent
        body = bytes(incoming.body)
        if data[end:] == body[: len(data) - end]:  # both found the same end of the head
            self._known.add(data[:end], incoming.head)
        self._answer(incoming.head, body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._take_incoming()
        trip, self._trip = self._trip, None
        if trip is not None:
            trip.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """uvicorn drains: what is under way is answered, and what was pipelined after it is for another connection."""
        if self._trip is not None:
            self._is_last = True
            return
        self._give_back()
        super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; the timer is not set anew for each request that is answered here."""
        left_s = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if self._trip is not None or left_s > 0:
            wait_s = max(left_s, 1.0)
            self.timeout_keep_alive_task = self.loop.call_later(wait_s, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def _take_incoming(self) -> _Incoming | None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None and incoming.patience is not None:
            incoming.patience.cancel()
        return incoming

    def _give_back(self) -> None:
        """Let uvicorn have the request whose head was read."""
        incoming = self._take_incoming()
        if incoming is not None:
            self._begin_cycle()
            if incoming.body:
                super().on_body(bytes(incoming.body))

    def _begin_cycle(self) -> None:
        """A request that goes uvicorn's way."""
        super().on_headers_complete()
        cycle: RequestResponseCycle | None = self.cycle
        if self._notice.is_given and cycle is not None:
            cycle.keep_alive = False

    def _answer(self, head: Head, body: bytes) -> None:
        trip = self._express.begin(head, body, self._write)
        if not trip.is_over:
            self._trip = trip

    def _write(self, status: int, lines: bytes, body: bytes) -> None:
        self._trip = None
        if self.transport.is_closing():
            return
        self.server_state.total_requests += 1
        server_lines = self._known.server_lines(self.server_state.default_headers)
        is_last = self._is_last or self._notice.is_given
        last_line = b"connection: close\r\n\r\n" if is_last else b"\r\n"
        self.transport.write(b"".join((STATUS_LINE[status], server_lines, lines, last_line, body)))
        if is_last:
            self.transport.close()
            return
        self._answered_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        if self._held:
            self.loop.call_soon(self._take_up)

    def _hold_back(self, data: bytes) -> None:
        """Keep what comes before the answer is written."""
        self._held += data
        if len(self._held) > MOST_HELD_BYTES:
            self.flow.pause_reading()

    def _take_up(self) -> None:
        held, self._held = self._held, b""
        self.flow.resume_reading()
        if not self.transport.is_closing():
            self.data_received(held)
