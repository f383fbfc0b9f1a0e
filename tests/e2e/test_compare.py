"""`twinserve compare` as its user runs it, against real engines, short.

Which engine is faster depends on the machine. So here both names lead to the same engine, by way of a proxy that slows
one of them down: then the right verdict is known.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadtest.compare.results import Result, decode_result
from loadtest.compare.statistics import Outcome
from tests.served_platform import ServedPlatform

pytestmark = pytest.mark.engines

ANSWERS = "tfserving"
SLOWED = "torchserve"
_CLOCK_STEP_S = 0.002
SHORT = ("--quick", "--pairs", "10", "--slot-s", "0.6", "--rate", "60", "--pairs-only", "--json")


class Proxy:
    """In front of a gateway: whatever engine is asked for, one answers, and answers in the name of the other later."""

    def __init__(self, url: str, slowdown: float) -> None:
        self._url = url
        self._slowdown = slowdown

    async def handle(self, request: web.Request) -> web.Response:
        clock = asyncio.get_running_loop().time
        started_at = clock()
        asked = request.headers.get("X-Engine")
        kept = ("Content-Type", "Inference-Header-Content-Length")
        headers = {name: request.headers[name] for name in kept if name in request.headers}
        headers |= {"X-Engine": ANSWERS} if asked else {}
        async with self._session.request(
            request.method, self._url + request.path_qs, data=await request.read() or None, headers=headers
        ) as answer:
            content = await answer.read()
        passed_on = (*kept, "X-Model-Version", "Server-Timing")
        back = {name: answer.headers[name] for name in passed_on if name in answer.headers}
        if asked == SLOWED and self._slowdown:  # a sleep of no time would still let others go first
            await _pause(self._slowdown * (clock() - started_at))
        return web.Response(body=content, status=answer.status, headers=back | ({"X-Engine": asked} if asked else {}))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Run it on a free port of the loopback; gives its URL."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as self._session:
            server = TestServer(app)
            await server.start_server()
            try:
                yield f"http://127.0.0.1:{server.port}"
            finally:
                await server.close()


async def _pause(pause_s: float) -> None:
    """asyncio's sleep rounds up to whole milliseconds, which a tenth of a quick answer is not."""
    clock = asyncio.get_running_loop().time
    until = clock() + pause_s
    if pause_s > _CLOCK_STEP_S:
        await asyncio.sleep(pause_s - _CLOCK_STEP_S)
    while clock() < until:  # noqa: ASYNC110  no event comes; others are let through
        await asyncio.sleep(0)


async def start(url: str, platform: ServedPlatform, *arguments: str) -> Process:
    environment = {**os.environ, "TWINSERVE_REPOSITORY": str(platform.repository)}
    command = (sys.executable, "-m", "twinserve", "compare", "--url", url, *arguments)
    return await asyncio.create_subprocess_exec(*command, env=environment, stdout=PIPE, stderr=PIPE)


async def compare(url: str, platform: ServedPlatform, out: Path) -> Result:
    process = await start(url, platform, *SHORT, "--out", str(out))
    written, said = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, said.decode()
    assert (out / "compare.json").read_bytes() == written
    result = decode_result(written)
    print(result.verdict.sentence)
    print("A/A:", result.noise.effects["p50"], "rejected:", result.rejected)
    return result


async def test_a_slowed_engine_is_named_and_its_slowness_measured(platform: ServedPlatform, tmp_path: Path) -> None:
    async with Proxy(platform.url, slowdown=1.0).serving() as url:
        for _ in range(3):
            result = await compare(url, platform, tmp_path)
            if result.verdict.outcome is not Outcome.WITHIN_NOISE:
                break  # else the machine stood still in a slot, and saying nothing was right
    effect = result.gateway.effects["p50"]
    assert effect.excludes_one
    assert effect.ratio is not None
    assert 1.4 < 1 / effect.ratio < 2.8
    assert result.verdict.faster == ANSWERS
    page = (tmp_path / "compare.html").read_text()
    assert result.verdict.sentence in page
    assert result.a.stages is not None
    assert result.a.balance is not None
    assert result.settings.requests_from == "the version's golden rows"
    assert result.hashes.keys() >= {"mnist.mar", "saved_model.pb"}


async def test_ctrl_c_keeps_what_was_measured(platform: ServedPlatform, tmp_path: Path) -> None:
    """To the command line alone, which passes it on."""
    process = await start(platform.url, platform, *SHORT, "--out", str(tmp_path))
    assert process.stderr
    async with asyncio.timeout(60):
        async for line in process.stderr:
            if b"A/A pair 3" in line:
                break
        process.send_signal(signal.SIGINT)
        out, said = await process.communicate()
    assert process.returncode == 130, said.decode()
    assert "what was measured is kept" in said.decode()
    result = decode_result(out)
    assert result.is_interrupted
    assert (tmp_path / "compare.json").read_bytes() == out
    assert "The run was interrupted" in (tmp_path / "compare.html").read_text()


async def test_a_mirrored_model_is_not_compared(
    platform: ServedPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINSERVE_ADMIN_TOKEN", platform.token)
    assert platform.run("route", "mnist", "--mirror", "tfserving=10").returncode == 0
    try:
        process = await start(platform.url, platform, *SHORT, "--out", str(tmp_path))
        told, said = await asyncio.wait_for(process.communicate(), 60)
    finally:
        assert platform.run("route", "mnist", "--mirror", "tfserving=0").returncode == 0
    assert process.returncode == 2, said.decode()
    assert "twinserve route mnist --mirror tfserving=0" in json.loads(told)["error"]


def test_help_reads_like_a_manual() -> None:
    command = [sys.executable, "-m", "twinserve", "compare", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "--price-per-hour" in said
    assert "Exit code 0 whatever the verdict is" in said
