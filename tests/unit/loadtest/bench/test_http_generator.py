"""The lean generator against servers whose every answer is known."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from loadtest.arrivals import poisson_arrivals
from loadtest.bench.alarm import Alarm
from loadtest.bench.http_answers import encode_post
from loadtest.bench.http_generator import run
from loadtest.bench.jobs import Job

REQUESTS = tuple(encode_post("/", "x", {}, bytes([65 + number])) for number in range(3))

Answer = Callable[[bytes], Awaitable[bytes | None]]


def encode_answer(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d x\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[int]:
    """A server on a free port; `answer` is given the one byte of a body, None hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                if (said := await answer(await reader.readexactly(1))) is None:
                    break
                writer.write(said)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def echo(body: bytes) -> bytes:
    return encode_answer(200, body * 2)


async def test_a_closed_loop_counts_answers_and_hands_some_back_with_their_request() -> None:
    async with serving(echo) as port:
        report = await run(Job("127.0.0.1", port, REQUESTS, connections=4, duration_s=0.3, sample_every=10))
    assert report.answered > 50
    assert report.errors == 0
    assert report.latency.p50_ms > 0
    assert len(report.samples) >= 2
    assert all(sample.body == bytes([65 + sample.request]) * 2 for sample in report.samples)


async def test_other_statuses_are_errors_by_their_number() -> None:
    async def refuse_some(body: bytes) -> bytes:
        return encode_answer(429 if body == b"B" else 200, b"")

    async with serving(refuse_some) as port:
        report = await run(Job("127.0.0.1", port, REQUESTS, connections=2, duration_s=0.2))
    assert set(report.statuses) == {"429"}
    assert report.statuses["429"] == pytest.approx(report.answered / 2, abs=3)  # one request of three


async def test_a_connection_that_ends_with_an_answer_owed_is_an_error() -> None:
    async def hang_up(body: bytes) -> bytes | None:
        return None

    async with serving(hang_up) as port:
        report = await run(Job("127.0.0.1", port, REQUESTS, connections=3, duration_s=0.1))
    assert report.statuses == {"connection lost": 3}
    assert report.answered == 0


async def test_an_open_loop_asks_at_its_rate_and_waits_for_what_is_owed() -> None:
    async with serving(echo) as port:
        job = Job("127.0.0.1", port, REQUESTS, connections=20, duration_s=1.0, rate_per_s=300, seed=3)
        report = await run(job)
    assert report.answered == len(list(poisson_arrivals(300, 3, 1.0)))
    assert report.errors == 0
    assert report.lag_ms is not None


async def test_an_open_loops_latency_counts_from_when_a_request_was_due() -> None:
    held: list[asyncio.TimerHandle] = []
    is_free = asyncio.Event()

    async def hold_the_first(body: bytes) -> bytes:
        if not held:
            held.append(asyncio.get_running_loop().call_later(0.3, is_free.set))
        await is_free.wait()
        return encode_answer(200, b"")

    async with serving(hold_the_first) as port:
        job = Job("127.0.0.1", port, REQUESTS, connections=1, duration_s=0.3, rate_per_s=200, seed=1)
        report = await run(job)
    assert report.errors == 0
    # One connection, held for 0.3 s: those that were due meanwhile have waited, though each was sent late and answered
    # at once.
    assert report.latency.p50_ms > 50


async def test_an_unanswered_request_is_told() -> None:
    async def never(body: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with serving(never) as port:
        report = await run(Job("127.0.0.1", port, REQUESTS, connections=2, duration_s=0.1, drain_s=0.1))
    assert report.statuses == {"unanswered": 2}


async def test_the_alarm_rings_when_it_should_and_never_before() -> None:
    with Alarm() as alarm:
        for number in range(20):
            at = time.perf_counter() + number / 5000
            await alarm.wait_until(at)
            assert time.perf_counter() >= at
        await alarm.wait_until(time.perf_counter() - 1)
