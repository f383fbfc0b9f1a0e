"""`python -m loadtest.bench.http_generator`: HTTP load with prepared requests; a job on stdin, a report on stdout.

Closed loop: every connection sends its next request when its answer has come. Open loop: every request is due at a
moment that no answer can move, and its latency counts from that moment, whether it had to wait for a connection or not.
"""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import cast

import numpy as np
import uvloop

from contracts.oip_bodies import HEADER_LENGTH
from loadtest.arrivals import poisson_arrivals
from loadtest.bench.alarm import Alarm
from loadtest.bench.figures import Latency
from loadtest.bench.http_answers import Answer, AnswerParser, BadHttp
from loadtest.bench.jobs import MOST_SAMPLES, Job, JobReport, Sample, read_job, write_report

_clock = time.perf_counter


class Load:
    """Everything that is counted, and which connection sends what next."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._number = 0
        self.latencies_s: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.samples: list[Sample] = []
        self.lags_s: list[float] = []
        self.idle: deque[Connection] = deque()
        self.waiting: deque[float] = deque()
        self.outstanding = 0
        self.is_over = False
        self.counts_from = self.started_at = self.ends_at = 0.0
        self.drained = asyncio.Event()

    def begin(self) -> None:
        self.started_at = _clock()
        self.counts_from = self.started_at + self._job.warmup_s
        self.ends_at = self.counts_from + self._job.duration_s

    def take(self) -> int:
        """The number of the next request."""
        self._number += 1
        return self._number % len(self._job.requests)

    def request(self, number: int) -> bytes:
        return self._job.requests[number]

    def ended(self, connection: "Connection", answer: Answer) -> None:
        """An answer came; the connection is free."""
        now = _clock()
        self.outstanding -= 1
        if connection.due_at >= self.counts_from and now <= self.ends_at:
            self._count(connection, answer, now)
        self._go_on(connection)

    def _count(self, connection: "Connection", answer: Answer, now: float) -> None:
        if answer.status != 200:
            self.statuses[str(answer.status)] += 1
            return
        self.latencies_s.append(now - connection.due_at)
        if len(self.latencies_s) % self._job.sample_every == 1 and len(self.samples) < MOST_SAMPLES:
            self.samples.append(Sample(connection.number, answer.body, answer.header(HEADER_LENGTH)))

    def _go_on(self, connection: "Connection") -> None:
        if self.waiting:
            connection.send(self.waiting.popleft())
        elif self.is_over:
            if not self.outstanding:
                self.drained.set()
        elif self._job.rate_per_s is None:
            connection.send(_clock())
        else:
            self.idle.append(connection)

    def lost(self, why: str) -> None:
        """A connection ended with an answer owed."""
        self.outstanding -= 1
        self.statuses[why] += 1
        if self.is_over and not self.outstanding:
            self.drained.set()

    def due(self, due_at: float) -> None:
        """A request of the open loop is due."""
        self.lags_s.append(_clock() - due_at)
        if self.idle:
            self.idle.popleft().send(due_at)
        else:
            self.waiting.append(due_at)

    def report(self) -> JobReport:
        if self.outstanding:
            self.statuses["unanswered"] += self.outstanding
        if self.waiting:
            self.statuses["not sent"] += len(self.waiting)
        lag_ms = float(np.quantile(self.lags_s, 0.5)) * 1000 if self.lags_s else None
        latency = Latency.of(self.latencies_s)
        seconds = self._job.duration_s
        return JobReport(len(self.latencies_s), seconds, latency, dict(self.statuses), self.samples, lag_ms)


class Connection(asyncio.Protocol):
    """One connection, at most one request on it at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._parser = AnswerParser()
        self._is_busy = False
        self.number = 0
        self.due_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def send(self, due_at: float) -> None:
        self.number = self._load.take()
        self.due_at = due_at
        self._is_busy = True
        self._load.outstanding += 1
        self.transport.write(self._load.request(self.number))

    def data_received(self, data: bytes) -> None:
        try:
            answers = self._parser.feed(data)
        except BadHttp:
            self.transport.abort()
            return
        for answer in answers:
            self._is_busy = False
            self._load.ended(self, answer)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self._is_busy:
            self._is_busy = False
            self._load.lost("connection lost")


async def run(job: Job) -> JobReport:
    """Raises OSError when the server takes no connection."""
    loop = asyncio.get_running_loop()
    load = Load(job)
    connections = []
    for _ in range(job.connections):
        _, connection = await loop.create_connection(lambda: Connection(load), job.host, job.port)
        connections.append(connection)
    load.begin()
    if job.rate_per_s is None:
        for connection in connections:
            connection.send(_clock())
        await asyncio.sleep(job.warmup_s + job.duration_s)
    else:
        load.idle.extend(connections)
        await _keep_time(load, poisson_arrivals(job.rate_per_s, job.seed, job.warmup_s + job.duration_s))
    load.is_over = True
    # Answers that are owed count for an open loop: without the slowest ones its tail would look short.
    if job.rate_per_s is not None:
        load.ends_at = float("inf")
    if load.outstanding:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(load.drained.wait(), job.drain_s)
    for connection in connections:
        connection.transport.abort()
    return load.report()


async def _keep_time(load: Load, arrivals: Iterator[float]) -> None:
    """Hand each request to the load when it is due."""
    with Alarm() as alarm:
        for offset_s in arrivals:
            due_at = load.started_at + offset_s
            await alarm.wait_until(due_at)
            load.due(due_at)


def main() -> None:
    write_report(uvloop.run(run(read_job())))


if __name__ == "__main__":
    main()
