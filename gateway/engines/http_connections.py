"""Kept HTTP/1.1 connections to one server, for many small POSTs whose bodies are bytes: no more than that takes.

A general client costs several times the processor time of such a call, and every inference pays it. Rules: one
request at a time on a connection; the one used last is used next; a connection is used again only when its answer,
which says its length or comes in chunks, is whole and everything of the request has gone out. A name is looked up anew
for every new connection: a restarted container may have another address. Event loops set TCP_NODELAY by themselves.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import cast
from urllib.parse import quote, urlsplit

import httptools

LONGEST_IDLE_S = 60.0
_HEAD_LIMIT_BYTES = 64 * 1024

Answer = tuple[int, bytes]
"""The status code and the body."""

Headers = tuple[tuple[str, str], ...]
Pieces = Sequence[bytes | memoryview]


class NoAnswer(Exception):
    """The server cannot be reached, the connection broke, or what came is no HTTP; the message says which."""


class AnswerTooLong(Exception):
    """An answer has more bytes than it may."""


class HttpConnections:
    """Connections to the server of an http:// URL, all in one event loop. Raises ValueError for any other URL."""

    def __init__(self, url: str, connect_timeout_s: float, answer_limit_bytes: int) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"expected http://host:port, got {url}")
        self._host, self._port, self._host_header = parts.hostname, parts.port or 80, parts.netloc
        self._connect_timeout_s = connect_timeout_s
        self._limit_bytes = answer_limit_bytes + _HEAD_LIMIT_BYTES
        self._idle: deque[_Connection] = deque()
        self._is_closed = False

    async def post(self, path: str, headers: Headers, body: Pieces, deadline: float, once: Headers = ()) -> Answer:
        """Send a body, given in pieces, and wait for the answer until `deadline` on the loop's clock.

        The head is prepared once for each path, which is quoted, and headers; `once` are those of this request alone.
        When the server closes a kept connection
        without a word, the request is sent once more on a new one. Raises TimeoutError, NoAnswer, AnswerTooLong.
        """
        loop = asyncio.get_running_loop()
        if deadline <= loop.time():
            raise TimeoutError
        own = "".join(f"{name}: {value}\r\n" for name, value in once).encode()
        head = b"%b%d\r\n%b\r\n" % (_head(path, self._host_header, headers), sum(map(len, body)), own)
        pieces = [head, *body]
        connection = self._take(loop.time())
        if connection is not None:
            try:
                return await self._exchange(connection, pieces, deadline)
            except _Closed:
                pass  # and may have been before the request came
        connection = await self._connect(deadline)
        return await self._exchange(connection, pieces, deadline)

    def close(self) -> None:
        """Close what is idle now, and what is busy when its answer has come."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().drop()

    def _take(self, now: float) -> "_Connection | None":
        """A live connection, if there is one. Those that have been idle for long are at the left."""
        while self._idle and now - self._idle[0].idle_since > LONGEST_IDLE_S:
            self._idle.popleft().drop()
        while self._idle:
            if (connection := self._idle.pop()).can_be_kept:
                return connection
            connection.drop()
        return None

    async def _connect(self, deadline: float) -> "_Connection":
        loop = asyncio.get_running_loop()
        patience_ends = loop.time() + self._connect_timeout_s
        try:
            async with asyncio.timeout_at(min(deadline, patience_ends)) as limit:
                make = partial(_Connection, self._limit_bytes)
                return (await loop.create_connection(make, self._host, self._port))[1]
        except OSError as error:  # TimeoutError is one, and the system has a timeout of its own
            if limit.expired() and deadline <= patience_ends:
                raise TimeoutError from error
            reason = f"did not take a connection in {self._connect_timeout_s:g} s" if limit.expired() else str(error)
            raise NoAnswer(reason) from error

    async def _exchange(self, connection: "_Connection", pieces: Pieces, deadline: float) -> Answer:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        timer = loop.call_at(deadline, _expire, future)
        try:
            connection.send(pieces, future)
            answer = await future
        except BaseException:  # given up, too: what is still to come must not be another request's answer
            connection.drop()
            raise
        finally:
            timer.cancel()
        if connection.can_be_kept and not self._is_closed:
            connection.idle_since = loop.time()
            self._idle.append(connection)
        else:
            connection.drop()
        return answer


class _Closed(NoAnswer):
    """The connection ended before a byte of the answer had come."""


class _Connection(asyncio.Protocol):
    """One connection, and what has come of the answer that it owes. The `on_` methods are called by the parser."""

    idle_since = 0.0

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._future: asyncio.Future[Answer] | None = None
        self._body: list[bytes] = []
        self._received_bytes = 0
        self._is_spoiled = False

    @property
    def can_be_kept(self) -> bool:
        """Whether another request may follow the one that was answered."""
        transport = self._transport
        return not (self._is_spoiled or transport.is_closing() or transport.get_write_buffer_size())

    def send(self, pieces: Pieces, future: asyncio.Future[Answer]) -> None:
        """Begin a request, whose answer goes into `future`. Only when no answer is owed."""
        self._future, self._body, self._received_bytes = future, [], 0
        if self._transport.is_closing():
            self._fail(_Closed("it closed the connection"))
        else:
            self._transport.writelines(pieces)

    def drop(self) -> None:
        """Close at once, whatever is under way."""
        self._future = None
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._received_bytes += len(data)
        if self._received_bytes > self._limit_bytes:
            self._fail(AnswerTooLong(f"an answer has more than {self._limit_bytes} bytes"))
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(NoAnswer(f"it answered with something that is no HTTP: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        reason = str(error or "it closed the connection")
        self._fail(NoAnswer(f"{reason} in the middle of an answer") if self._received_bytes else _Closed(reason))

    def on_message_begin(self) -> None:
        self._is_spoiled |= self._future is None  # nobody asked for this one

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 or self._future is None:
            return  # an interim answer, RFC 9110 section 15.2
        self._is_spoiled |= not self._parser.should_keep_alive()
        if not self._future.done():
            self._future.set_result((status, self._body[0] if len(self._body) == 1 else b"".join(self._body)))
        self._future, self._body = None, []

    def _fail(self, error: Exception) -> None:
        self._is_spoiled = True
        if self._future is not None and not self._future.done():
            self._future.set_exception(error)


@lru_cache(maxsize=256)
def _head(path: str, host: str, headers: Headers) -> bytes:
    """A request's head as far as the number of its body's bytes."""
    lines = [f"POST {quote(path)} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "Content-Length: "]).encode()


def _expire(future: asyncio.Future[Answer]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())
