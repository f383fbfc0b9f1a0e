"""What engines count themselves: their pages as they write them, and the reader that fetches those."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.engines.counter_pages import CounterPage, CounterPages
from gateway.engines.own_counters import NoCounters, OwnCounters, read_tfserving, read_torchserve
from tests.platform_process import wait_until_async

TORCHSERVE = """\
# HELP Requests2XX Torchserve prometheus counter metric with unit: Count
# TYPE Requests2XX counter
Requests2XX{Level="Host",Hostname="here",} 900.0
# HELP Requests5XX Torchserve prometheus counter metric with unit: Count
# TYPE Requests5XX counter
Requests5XX{Level="Host",Hostname="here",} 2.0
# TYPE ts_inference_requests_total counter
ts_inference_requests_total{model_name="mnist",model_version="1",hostname="here",} 10.0
ts_inference_requests_total{model_name="mnist",model_version="2",hostname="here",} 32.0
# TYPE ts_inference_latency_microseconds counter
ts_inference_latency_microseconds{model_name="mnist",model_version="1",hostname="here",} 1500000.25
ts_inference_latency_microseconds{model_name="mnist",model_version="2",hostname="here",} 5.0E5
# TYPE ts_queue_latency_microseconds counter
ts_queue_latency_microseconds{model_name="mnist",model_version="2",hostname="here",} 250000.0
# TYPE QueueTime gauge
QueueTime{Level="Host",Hostname="here",} 1.0
"""

LATENCY = 'model_name="mnist",API="Predict",entrypoint="GRPC"'
TFSERVING = f"""\
# TYPE :tensorflow:serving:request_count counter
:tensorflow:serving:request_count{{model_name="mnist",status="OK"}} 40
:tensorflow:serving:request_count{{model_name="mnist",status="INVALID_ARGUMENT"}} 3
:tensorflow:serving:request_count{{model_name="mnist",status="UNAVAILABLE"}} 2
:tensorflow:serving:request_count{{model_name="twinserve-probe",status="NOT_FOUND"}} 5000
# TYPE :tensorflow:serving:request_latency histogram
:tensorflow:serving:request_latency_bucket{{{LATENCY},le="10"}} 1
:tensorflow:serving:request_latency_bucket{{{LATENCY},le="+Inf"}} 37
:tensorflow:serving:request_latency_sum{{{LATENCY}}} 1.25e+06
:tensorflow:serving:request_latency_count{{{LATENCY}}} 37
"""
QUEUE = ":tensorflow:serving:batching_session:queuing_latency"
BATCHING = f"""\
# TYPE {QUEUE} histogram
{QUEUE}_bucket{{thread_pool_name="p",le="+Inf"}} 3
{QUEUE}_sum{{thread_pool_name="p"}} 300000
{QUEUE}_count{{thread_pool_name="p"}} 3
"""


def test_torchserve_over_all_versions() -> None:
    assert read_torchserve(TORCHSERVE) == OwnCounters(42, 2, 2.00000025, 0.25)


def test_torchserve_before_its_first_request_and_where_it_tells_nothing() -> None:
    types = "".join(f"{line}\n" for line in TORCHSERVE.splitlines() if line.startswith("#"))
    assert read_torchserve(types) == OwnCounters(0, 0, 0, 0)
    with pytest.raises(NoCounters, match="does its metrics_mode say prometheus"):
        read_torchserve("")


def test_tfserving_counts_neither_probes_nor_the_clients_faults_as_failures() -> None:
    assert read_tfserving(TFSERVING) == OwnCounters(requests=37 + 3 + 2, failures=2, inference_s=1.25, queue_s=None)


def test_tfserving_tells_of_a_queue_only_when_it_has_one() -> None:
    assert read_tfserving(TFSERVING + BATCHING).queue_s == pytest.approx(0.3)
    assert read_tfserving("") == OwnCounters(0, 0, 0, None)


def test_a_models_name_cannot_pretend_to_be_a_status() -> None:
    name = "\u2028" r"x\",status=\"INTERNAL\"} 9 {"
    page = f':tensorflow:serving:request_count{{model_name="{name}",status="NOT_FOUND"}} 7\n'
    assert read_tfserving(page) == OwnCounters(0, 0, 0, None)


@pytest.mark.parametrize("line", ["ts_inference_requests_total", "ts_inference_requests_total{} many"])
def test_what_is_no_sample(line: str) -> None:
    with pytest.raises(NoCounters, match="no sample"):
        read_torchserve(line)


@pytest.mark.parametrize("rest", ["{} NaN", "{} +Inf", "{" + "a" * 5000 + "} 1"])
def test_what_counts_nothing_or_has_no_end_is_refused(rest: str) -> None:
    with pytest.raises(NoCounters):
        read_torchserve("ts_inference_requests_total" + rest)


class Engine:
    """An engine's page that a test may change, hold up, or have fail."""

    def __init__(self) -> None:
        self.requests = 1
        self.status = 200
        self.reads = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def answer(self, _: web.Request) -> web.Response:
        self.reads += 1
        await self.answers.wait()
        return web.Response(text=f"ts_inference_requests_total{{}} {self.requests}\n", status=self.status)


@pytest.fixture
def engine() -> Engine:
    return Engine()


async def reading(engine: Engine, test: Callable[[CounterPage], Awaitable[None]]) -> None:
    """Run a test with the engine's page served."""
    app = web.Application()
    app.router.add_get("/metrics", engine.answer)
    async with TestServer(app, host="127.0.0.1") as server:
        await test(CounterPage("torchserve", str(server.make_url("/metrics")), read_torchserve))


async def until_told(pages: CounterPages, requests: float | None) -> None:
    async def is_told() -> bool:
        found = pages.counters().get("torchserve")
        return (found and found.requests) == requests

    await wait_until_async(is_told, 10, f"{requests} requests are told")


async def stopped(*tasks: "asyncio.Task[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_it_follows_the_engine_and_says_nothing_while_that_does_not_answer(engine: Engine) -> None:
    async def test(page: CounterPage) -> None:
        pages = CounterPages((page,), interval_s=0.01)
        assert pages.counters() == {}
        task = asyncio.create_task(pages.run())
        await until_told(pages, 1)
        engine.requests = 5
        await until_told(pages, 5)
        engine.status = 500
        await until_told(pages, None)
        engine.status = 200
        await until_told(pages, 5)
        await stopped(task)
        assert pages.counters() == {}

    await reading(engine, test)


async def test_a_page_that_does_not_come_is_given_up(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.engines.counter_pages.READ_TIMEOUT_S", 0.05)
    engine.answers.clear()

    async def test(page: CounterPage) -> None:
        pages = CounterPages((page,), interval_s=0.01)
        task = asyncio.create_task(pages.run())

        async def is_asked_again() -> bool:
            return engine.reads > 1

        await wait_until_async(is_asked_again, 10, "another try")
        assert not task.done()
        await stopped(task)
        engine.answers.set()

    await reading(engine, test)


async def test_a_page_without_an_end_is_given_up(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.engines.counter_pages.PAGE_LIMIT_BYTES", 10)

    async def test(page: CounterPage) -> None:
        pages = CounterPages((page,), interval_s=0.01)
        task = asyncio.create_task(pages.run())

        async def is_asked_again() -> bool:
            return engine.reads > 1

        await wait_until_async(is_asked_again, 10, "another try")
        assert pages.counters() == {}
        await stopped(task)

    await reading(engine, test)


async def test_an_engine_that_is_away_is_said_once(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gateway.engines.counter_pages")
    engine.status = 404

    async def test(page: CounterPage) -> None:
        pages = CounterPages((page,), interval_s=0.01)
        task = asyncio.create_task(pages.run())

        async def is_asked_often() -> bool:
            return engine.reads > 3

        await wait_until_async(is_asked_often, 10, "several rounds")
        await stopped(task)
        assert caplog.messages == [f"torchserve's own counters cannot be read: {page.url} answered 404"]

    await reading(engine, test)


async def test_of_several_processes_one_reads_and_all_tell_the_same(engine: Engine, tmp_path: Path) -> None:
    async def test(page: CounterPage) -> None:
        first = CounterPages((page,), interval_s=0.01, folder=tmp_path)
        read_by_second: list[str] = []

        def read(text: str) -> OwnCounters:
            read_by_second.append(text)
            return read_torchserve(text)

        second = CounterPages((CounterPage(page.engine, page.url, read),), interval_s=0.01, folder=tmp_path)
        assert second.counters() == {}
        reader = asyncio.create_task(first.run())
        await until_told(first, 1)
        waiting = asyncio.create_task(second.run())
        await until_told(second, 1)
        engine.requests = 2
        await until_told(second, 2)
        rounds = engine.reads + 5

        async def has_gone_on() -> bool:
            return engine.reads > rounds

        await wait_until_async(has_gone_on, 10, "more rounds")
        assert read_by_second == []
        assert first.counters() == second.counters() == {"torchserve": OwnCounters(2, 0, 0, 0)}

        await stopped(reader)
        engine.requests = 3
        await until_told(first, 3)  # by the second, which reads on
        await stopped(waiting)

    await reading(engine, test)
    names = {entry.name for entry in os.scandir(tmp_path)}
    assert names == {"engines.json", "engines.lock"}, "prometheus_client takes files *.db for its own"


async def test_what_nobody_has_read_for_long_is_not_told(engine: Engine, tmp_path: Path) -> None:
    async def test(page: CounterPage) -> None:
        pages = CounterPages((page,), interval_s=0.01, folder=tmp_path)
        reader = asyncio.create_task(pages.run())
        await until_told(pages, 1)
        await stopped(reader)
        assert pages.counters() != {}
        os.utime(tmp_path / "engines.json", (1, 1))
        assert pages.counters() == {}

    await reading(engine, test)
