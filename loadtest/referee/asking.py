"""Asks the gateway for LoadGen: a line of samples, connections that take them, one report for each.

Rules: every sample is reported exactly once, whatever happens to its connection, since LoadGen waits for all; it is
reported before its answer is looked at, so that looking costs no latency. All of it belongs to one event loop.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from loadtest.bench.http_answers import Answer, AnswerParser, BadHttp
from loadtest.compare.client import Judge
from loadtest.referee.results import Asked

CONNECTIONS = 64
_CONNECT_TIMEOUT_S = 5.0
_LOOKS_A_TIMEOUT = 4


@dataclass(frozen=True)
class Address:
    """Who is asked what: whole HTTP requests, one for each sample of the library."""

    host: str
    port: int
    requests: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """A sample of the library, and its answer, or why there is none."""

    index: int
    answer: Answer | None
    fault: str = ""


class Asking:
    """`report` is called with LoadGen's id of a sample once it has ended; `ended` keeps them all.

    `ask` may be called from the event loop alone. A request that is not answered within `timeout_s` is lost. When
    nothing at all was answered for so long, all that waits in line is lost too: it would take a timeout for each turn.
    """

    def __init__(
        self, address: Address, report: Callable[[int], None], timeout_s: float = 30.0, connections: int = CONNECTIONS
    ) -> None:
        self._address = address
        self._report = report
        self._timeout_s = timeout_s
        self._most = connections
        self._waiting: deque[tuple[int, int]] = deque()
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._looking: asyncio.TimerHandle | None = None
        self._under_way = 0
        self._quiet_since = time.monotonic()  # nothing was answered, while something was under way
        self._is_over = False
        self.ended: list[Ended] = []

    async def __aenter__(self) -> "Asking":
        self._look()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        self._waiting.clear()
        if self._looking is not None:
            self._looking.cancel()
        for task in self._connecting:
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        for connection in tuple(self._open):
            connection.transport.abort()

    def ask(self, samples: Sequence[tuple[int, int]]) -> None:
        """Samples, each with LoadGen's id and its index in the library; what finds no connection waits in line."""
        if self._is_over:
            return
        if not self._under_way:
            self._quiet_since = time.monotonic()
        self._under_way += len(samples)
        for sample in samples:
            if self._idle:
                self._idle.pop().send(*sample)
            else:
                self._waiting.append(sample)
        free = self._most - len(self._open) - len(self._connecting)
        for _ in range(min(free, len(self._waiting) - len(self._connecting))):
            self._connect()

    def request(self, index: int) -> bytes:
        return self._address.requests[index]

    def _connect(self) -> None:
        task = asyncio.get_running_loop().create_task(self._open_one())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _open_one(self) -> None:
        loop, address = asyncio.get_running_loop(), self._address
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                _, made = await loop.create_connection(lambda: _Connection(self), address.host, address.port)
        except OSError as error:  # a timeout is one too
            self._connecting -= {asyncio.current_task()}
            while self._waiting and not self._open and not self._connecting:  # nobody else will ever take them
                self.end(*self._waiting.popleft(), None, f"{type(error).__name__}: {error}")
            return
        if made.transport.is_closing():
            self.lose(made, None, "")
            return
        self._open.add(made)
        self.rest(made)

    def rest(self, connection: "_Connection") -> None:
        """A connection has nothing to do."""
        if self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._idle.append(connection)

    def end(self, token: int, index: int, answer: Answer | None, fault: str = "") -> None:
        """A sample has ended, with its answer or without one."""
        self._under_way -= 1
        if answer is not None:
            self._quiet_since = time.monotonic()
        self._report(token)
        self.ended.append(Ended(index, answer, fault))

    def lose(self, connection: "_Connection", owed: tuple[int, int] | None, fault: str) -> None:
        """A connection has ended, maybe with an answer owed."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if owed is not None:
            self.end(*owed, None, fault)
        if self._waiting and not self._is_over and len(self._open) + len(self._connecting) < self._most:
            self._connect()

    def _look(self) -> None:
        """Give up what has been owed for too long."""
        before = time.monotonic() - self._timeout_s
        if self._waiting and self._quiet_since < before:
            self._lose_waiting(f"nothing was answered within {self._timeout_s:g} s")
        for connection in tuple(self._open):
            if connection.asked_at is not None and connection.asked_at < before:
                connection.give_up(f"no answer within {self._timeout_s:g} s")
        self._looking = asyncio.get_running_loop().call_later(self._timeout_s / _LOOKS_A_TIMEOUT, self._look)

    def _lose_waiting(self, fault: str) -> None:
        self._quiet_since = time.monotonic()
        waiting = tuple(self._waiting)
        self._waiting.clear()
        for sample in waiting:
            self.end(*sample, None, fault)


class _Connection(asyncio.Protocol):
    """At most one request at a time."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._parser = AnswerParser()
        self._owed: tuple[int, int] | None = None
        self._fault = "the connection was closed"
        self.asked_at: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def send(self, token: int, index: int) -> None:
        self._owed, self.asked_at = (token, index), time.monotonic()
        self.transport.write(self._asking.request(index))

    def give_up(self, fault: str) -> None:
        self._fault = fault
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            answers = self._parser.feed(data)
        except BadHttp as error:
            self.give_up(f"no HTTP answer: {error}")
            return
        for answer in answers:
            owed, self._owed, self.asked_at = self._owed, None, None
            if owed is not None:
                self._asking.end(*owed, answer)
                self._asking.rest(self)

    def connection_lost(self, error: Exception | None) -> None:
        owed, self._owed, self.asked_at = self._owed, None, None
        self._asking.lose(self, owed, f"{self._fault}{f': {error}' if error else ''}")


def judge_all(ended: Sequence[Ended], judge: Judge) -> list[Asked]:
    """Look at every answer, once nobody waits for one any more."""
    return [_judge(each, judge) for each in ended]


def _judge(each: Ended, judge: Judge) -> Asked:
    if each.answer is None:
        return Asked("lost", fault=each.fault)
    engine = each.answer.header("X-Engine") or ""
    if each.answer.status != 200:
        return Asked("refused", engine, f"status {each.answer.status}: {each.answer.body[:200].decode('latin-1')}")
    fault = judge(each.index, each.answer)
    return Asked("wrong" if fault else "right", engine, fault)
