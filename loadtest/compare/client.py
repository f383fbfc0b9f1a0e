"""The HTTP client of a trial: prepared requests, every answer's times, some answers' bodies to be judged afterwards.

Rules: latency counts from when a request was due, whether it had to wait for a connection or not; that wait is the
server's, and we are late only until a request is handed over. Nothing is decoded while the load runs. Every request
ends in one of: a latency, a failure, or still owed when patience ended.
"""

import asyncio
import contextlib
import gc
import math
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from loadtest.arrivals import poisson_arrivals
from loadtest.bench.alarm import Alarm
from loadtest.bench.http_answers import Answer, AnswerParser, BadHttp
from loadtest.compare.trials import NOT_SENT, Load, Trial

_CONNECT_TIMEOUT_S = 5.0
_MOST_FAULTS = 5
_SAMPLE_EVERY = 17  # has no divisor in common with the 64 or 16 questions, so that all of them get their turn
_MOST_SAMPLES = 64
_BACKLOG = 256
_BACKLOG_S = 0.5
"""A trial ends early when more answers are owed than both of these say."""

_clock = time.perf_counter

Judge = Callable[[int, Answer], str]
"""What is wrong with the answer to the request of that number; empty when nothing is."""


class Unreachable(Exception):
    """Nobody takes connections at an address; the message has it."""


@dataclass(frozen=True)
class Subject:
    """Who is asked what. `requests`: whole HTTP requests, sent in turn. `processes`: whose usage counts, by name.

    `look` is held against every answer's head, `judge` against some whole answers.
    """

    name: str
    host: str
    port: int
    requests: tuple[bytes, ...]
    look: Judge
    judge: Judge


class _Run:
    """What is counted, and which connection sends what next."""

    def __init__(self, subject: Subject, load: Load) -> None:
        self.subject = subject
        self.load = load
        self.due: list[float] = []
        self.handed_over: list[float] = []
        self.ended: list[float] = []
        self.owed: list[int] = []
        self.answers: list[Answer | None] = []
        self.failures: Counter[str] = Counter()
        self.samples: list[tuple[int, Answer]] = []
        self.idle: list[_Connection] = []
        self.connections: list[_Connection] = []
        self.waiting: deque[int] = deque()
        self.outstanding = 0
        self.is_over = False
        self.started_at = 0.0
        self.drained = asyncio.Event()
        self.replacing: set[asyncio.Task[None]] = set()

    def add(self, due_s: float) -> None:
        """A request is due, in seconds since the start."""
        number = len(self.due)
        self.due.append(due_s)
        self.handed_over.append(_clock() - self.started_at)
        self.ended.append(math.inf)
        self.owed.append(self.outstanding)
        self.answers.append(None)
        self.outstanding += 1
        if self.idle:
            self.idle.pop().send(number)
        else:
            self.waiting.append(number)

    def take_answer(self, connection: "_Connection", number: int, answer: Answer) -> None:
        if answer.status == 200:
            self.ended[number] = _clock() - self.started_at
            self.answers[number] = Answer(200, answer.head, b"")
            if number % _SAMPLE_EVERY == 0 and len(self.samples) < _MOST_SAMPLES:
                self.samples.append((number, answer))
        else:
            self.failures[f"status {answer.status}"] += 1
        self._settle()
        self._go_on(connection)

    def _settle(self) -> None:
        self.outstanding -= 1
        if self.is_over and not self.outstanding:
            self.drained.set()

    def _go_on(self, connection: "_Connection") -> None:
        if self.waiting:
            connection.send(self.waiting.popleft())
            return
        self.idle.append(connection)
        if self.load.rate_per_s is None and not self.is_over:
            self.add(_clock() - self.started_at)

    def lose(self, connection: "_Connection", number: int | None) -> None:
        """A connection has ended, maybe with an answer owed."""
        with contextlib.suppress(ValueError):
            self.idle.remove(connection)
        if number is not None:
            self.failures["connection lost"] += 1
            self._settle()
        if not self.is_over:
            task = asyncio.get_running_loop().create_task(self._replace())
            self.replacing.add(task)
            task.add_done_callback(self.replacing.discard)

    async def _replace(self) -> None:
        """Where nobody answers any more, requests stay owed, and the trial ends by that."""
        with contextlib.suppress(OSError):
            self._go_on(await self.connect())

    async def connect(self) -> "_Connection":
        """One more connection. Raises OSError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            _, made = await loop.create_connection(lambda: _Connection(self), self.subject.host, self.subject.port)
        self.connections.append(made)
        return made


class _Connection(asyncio.Protocol):
    """At most one request at a time."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._parser = AnswerParser()
        self._number: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def send(self, number: int) -> None:
        requests = self._run.subject.requests
        self._number = number
        self.transport.write(requests[number % len(requests)])

    def data_received(self, data: bytes) -> None:
        try:
            answers = self._parser.feed(data)
        except BadHttp:
            self.transport.abort()
            return
        for answer in answers:
            number, self._number = self._number, None
            if number is not None:
                self._run.take_answer(self, number, answer)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._run.lose(self, self._number)
        self._number = None


async def drive(subject: Subject, load: Load) -> Trial:
    """Send the load, wait for what is owed, judge. Raises Unreachable."""
    run = _Run(subject, load)
    await _connect(run)
    gc.collect()
    gc.disable()  # a pause of ours would be taken for the server's
    try:
        run.started_at = _clock()
        if load.rate_per_s is None:
            for _ in list(run.connections):
                run.add(_clock() - run.started_at)
            await asyncio.sleep(load.duration_s)
            ended_s = load.duration_s
        else:
            ended_s = await _keep_time(run, load.rate_per_s)
        run.is_over = True
        if run.outstanding:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(run.drained.wait(), load.drain_s)
    finally:
        run.is_over = True
        gc.enable()
        for task in run.replacing:
            task.cancel()
        for connection in run.connections:
            connection.transport.abort()
    return _make_trial(run, replace(load, duration_s=ended_s))


async def _connect(run: _Run) -> None:
    for _ in range(run.load.connections):
        try:
            run.idle.append(await run.connect())
        except OSError as error:
            raise Unreachable(f"{run.subject.name} at {run.subject.host}:{run.subject.port}: {error}") from error


async def _keep_time(run: _Run, rate_per_s: float) -> float:
    """Hand each request over when it is due; returns when the last was, or when a backlog made it end early."""
    most = max(_BACKLOG, _BACKLOG_S * rate_per_s)
    with Alarm() as alarm:
        for due_s in poisson_arrivals(rate_per_s, run.load.seed, run.load.duration_s):
            await alarm.wait_until(run.started_at + due_s)
            if run.outstanding > most:
                run.failures[NOT_SENT] += 1
                return due_s
            run.add(due_s)
        await alarm.wait_until(run.started_at + run.load.duration_s)
    return run.load.duration_s


def _make_trial(run: _Run, load: Load) -> Trial:
    if run.outstanding:
        run.failures["unanswered"] += run.outstanding
    due_s, handed_s, ended_s = (np.array(times, np.float64) for times in (run.due, run.handed_over, run.ended))
    faults = [fault for number, answer in run.samples if (fault := run.subject.judge(number, answer))]
    heads = [(number, answer) for number, answer in enumerate(run.answers) if answer]
    faults += [fault for number, answer in heads if (fault := run.subject.look(number, answer))]
    return Trial(
        subject=run.subject.name,
        load=load,
        due_s=due_s,
        late_s=handed_s - due_s,
        latency_s=ended_s - due_s,
        outstanding=np.array(run.owed, np.float64),
        timing=tuple((answer.header("Server-Timing") or "") if answer else "" for answer in run.answers),
        failures=dict(run.failures),
        faults=tuple(faults[:_MOST_FAULTS]),
    )
