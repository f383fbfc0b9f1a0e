"""A gateway that only pretends: right answers from a table, the operators' routes, and faults on demand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from aiohttp.test_utils import TestServer

from contracts.golden import Golden, write_golden
from contracts.layout import ModelPaths
from contracts.oip_bodies import HEADER_LENGTH, Array, decode_answer, encode_request
from loadtest.admin import Gateway
from loadtest.known_answers import KnownAnswers
from loadtest.open_loop import Target

MODEL = "mnist"
TOKEN = "operators' token"
ENGINES = ("torchserve", "tfserving")
ROWS = 8

_generator = np.random.default_rng(3)
IMAGES: Array = _generator.random((ROWS, 28, 28), np.float32)
LOGITS: dict[int, Array] = {version: _generator.normal(0, 5, (ROWS, 10)).astype(np.float32) for version in (1, 2)}
_COMPUTED: dict[int, Array] = {**LOGITS, 3: _generator.normal(0, 5, (ROWS, 10)).astype(np.float32)}
"""A third version is there for tests that publish it."""


def known_answers() -> KnownAnswers:
    return KnownAnswers({"images": IMAGES}, {version: {"logits": logits} for version, logits in LOGITS.items()})


def golden(version: int) -> Golden:
    return Golden({"images": IMAGES}, {"logits": _COMPUTED[version]})


def publish(repository: Path, version: int, rows: Golden) -> None:
    """As much of a published version as load tests read."""
    paths = ModelPaths(repository, MODEL).version(version)
    paths.root.mkdir(parents=True)
    write_golden(paths.golden, rows)


@dataclass
class Faults:
    """What it does wrong. Callables get the number of the inference request, from 0."""

    is_lost: Callable[[int], bool] = lambda _: False  # the connection is closed, nothing is answered
    is_cut: Callable[[int], bool] = lambda _: False  # the connection is closed in the middle of the body
    is_refused: Callable[[int], bool] = lambda _: False  # 503, entered as failed
    is_corrupted: Callable[[int], bool] = lambda _: False  # one logit is off
    is_mislabelled: Callable[[int], bool] = lambda _: False  # computed by the version that is not live
    is_stale: Callable[[int], bool] = lambda _: False  # computed by the version that is not live, which says so
    is_swapped: Callable[[int], bool] = lambda _: False  # another request's id
    is_uncounted: Callable[[int], bool] = lambda _: False  # never enters the ledger
    refused_swaps: frozenset[int] = frozenset()
    failed_swaps: frozenset[int] = frozenset()
    idle_swaps: frozenset[int] = frozenset()  # says done, and does nothing
    late_looks: int = 0  # so many looks after a change still show what was before it


@dataclass
class FakeGateway:
    """Its state. `gate` holds all inference answers back until it is set; `swap_gate` the changes."""

    faults: Faults = field(default_factory=Faults)
    live: int = 2
    previous: int | None = 1
    kept: list[int] = field(default_factory=list)
    received: int = 0
    received_ids: list[str] = field(default_factory=list)
    engines: list[str | None] = field(default_factory=list)
    swaps: int = 0
    looks: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    swap_gate: asyncio.Event = field(default_factory=asyncio.Event)
    ledgers: dict[int, dict[str, int]] = field(
        default_factory=lambda: {version: {"accepted": 7, "answered": 7, "failed": 0} for version in LOGITS}
    )
    url: str = ""

    def __post_init__(self) -> None:
        self.gate.set()
        self.swap_gate.set()

    @property
    def gateway(self) -> Gateway:
        return Gateway(self.url, TOKEN)

    def target(self, most_outstanding: int = 2000, timeout_s: float = 20.0, engine: str | None = None) -> Target:
        return Target(self.url, MODEL, engine, most_outstanding, timeout_s)

    async def infer(self, request: web.Request) -> web.Response:
        number = self.received
        self.received += 1
        self.received_ids.append(request.headers["X-Request-Id"])
        self.engines.append(request.headers.get("X-Engine"))
        content = await request.read()
        await self.gate.wait()
        faults = self.faults
        live = 3 - self.live if faults.is_stale(number) else self.live
        if not faults.is_uncounted(number):
            self.ledgers[live]["accepted"] += 1
            self.ledgers[live]["failed" if faults.is_refused(number) else "answered"] += 1
        assert request.transport
        if faults.is_lost(number):
            request.transport.close()
            return web.Response()
        if faults.is_refused(number):
            return web.json_response({"error": "no engine can answer"}, status=503)
        body, headers = self._answer(content, request, number, live)
        if faults.is_cut(number):
            request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + body[:20])
            request.transport.close()
            return web.Response()
        return web.Response(body=body, headers=headers)

    def _answer(self, content: bytes, request: web.Request, number: int, live: int) -> tuple[bytes, dict[str, str]]:
        image = _decode_image(content, request.headers[HEADER_LENGTH])
        row = int(np.flatnonzero((image == IMAGES).all(axis=(1, 2)))[0])
        other = 3 - live
        faults = self.faults
        computed_by = other if faults.is_mislabelled(number) else live
        logits = _COMPUTED[computed_by][row : row + 1].copy()
        if faults.is_corrupted(number):
            logits[0, 3] += 0.01
        body, headers = encode_request({"logits": logits})  # requests and answers differ in a key
        swapped = body.replace(b'"inputs"', b'"outputs"', 1)
        headers[HEADER_LENGTH] = str(int(headers[HEADER_LENGTH]) + 1)
        headers["X-Engine"] = request.headers.get("X-Engine", ENGINES[number % 2])
        headers["X-Model-Version"] = str(live)
        headers["X-Request-Id"] = "another's" if faults.is_swapped(number) else request.headers["X-Request-Id"]
        return swapped, headers

    async def show(self, request: web.Request) -> web.Response:
        _authenticate(request)
        versions = [{"version": v, "engines": {}, "ledger": ledger} for v, ledger in self.ledgers.items()]
        self.looks += 1
        live = self.previous if self.swaps and self.looks <= self.faults.late_looks else self.live
        shown = {"model": MODEL, "live": live, "previous": self.previous, "kept": self.kept, "versions": versions}
        return web.json_response(shown)

    async def promote(self, request: web.Request) -> web.Response:
        _authenticate(request)
        body = await request.json()
        self.bodies.append(body)
        return await self._change("promote", body["version"], body["keep"], request)

    async def roll_back(self, request: web.Request) -> web.Response:
        _authenticate(request)
        assert await request.json() == {"keep": 0}
        assert self.previous is not None
        return await self._change("rollback", self.previous, 0, request)

    async def _change(self, kind: str, version: int, keep: int, request: web.Request) -> web.Response:
        assert request.query["wait"] == "true"
        await self.swap_gate.wait()
        number, before = self.swaps, self.live
        self.swaps += 1
        self.looks = 0
        if number in self.faults.refused_swaps:
            return web.json_response({"error": "a change is already under way"}, status=409)
        has_failed = number in self.faults.failed_swaps
        if not has_failed and number not in self.faults.idle_swaps:
            others = [held for held in (before, *self.kept) if held != version]
            self.kept, self.previous, self.live = others[:keep], before, version
        record = {
            "id": f"r{number}",
            "kind": kind,
            "model": MODEL,
            "version": version,
            "from_version": before,
            "state": "failed" if has_failed else "done",
            "reason": "tfserving answers differently" if has_failed else "",
            "phases": {"load": 1.5 + number, "flip": 0.01},
        }
        return web.json_response(record)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post(f"/v2/models/{MODEL}/infer", self.infer)
        app.router.add_get(f"/admin/models/{MODEL}", self.show)
        app.router.add_post(f"/admin/models/{MODEL}/promote", self.promote)
        app.router.add_post(f"/admin/models/{MODEL}/rollback", self.roll_back)
        return app


@asynccontextmanager
async def fake_gateway(faults: Faults | None = None) -> AsyncIterator[FakeGateway]:
    """Run one on a free port of the loopback."""
    gateway = FakeGateway(faults or Faults())
    server = TestServer(gateway.app())
    await server.start_server()
    gateway.url = f"http://127.0.0.1:{server.port}"
    try:
        yield gateway
    finally:
        await server.close()


def nth(*numbers: int) -> Callable[[int], bool]:
    """True for these requests."""
    chosen = set(numbers)
    return lambda number: number in chosen


def _decode_image(content: bytes, header_length: str) -> Array:
    as_answer = content.replace(b'"inputs"', b'"outputs"', 1)
    image: Array = decode_answer(as_answer, str(int(header_length) + 1))["images"][0]
    return image


def _authenticate(request: web.Request) -> None:
    if request.headers.get("Authorization") != f"Bearer {TOKEN}":
        raise web.HTTPUnauthorized(text='{"error": "expected the operators\' token"}')
