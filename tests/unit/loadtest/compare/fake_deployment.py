"""A gateway with two engines that only pretends: right answers, after as long as each engine is told to take."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
from aiohttp import web
from aiohttp.test_utils import TestServer

from contracts.oip_bodies import HEADER_LENGTH, Array, encode_request

MODEL, VERSION, TOKEN = "mnist", 2, "operators-only"
ENGINES = {"torchserve": "torchserve", "tfserving": "embedded"}
INPUTS: Array = np.random.default_rng(1).random((4, 3), np.float32)


def compute(inputs: Array) -> Array:
    """The model: the sum of the three, twice over."""
    outputs: Array = np.repeat(inputs.sum(axis=1, keepdims=True), 2, axis=1).astype(np.float32)
    return outputs


@dataclass
class FakeDeployment:
    """`delays_s` by engine. `wrong`, `failing`: engines whose answers are off by one, or are 503.

    `mirror` is what operators see, `copies` by what came of them.
    `is_hard`: the inputs [1, 3] that the wrong ones get wrong. `version` is live, and answers; `resident` are listed.
    """

    delays_s: Mapping[str, float] = field(default_factory=dict)
    wrong: frozenset[str] = frozenset()
    failing: frozenset[str] = frozenset()
    is_hard: Callable[[Array], bool] = lambda _: True
    version: int = VERSION
    resident: tuple[int, ...] = ()
    asked: list[str] = field(default_factory=list)
    mirror: Mapping[str, float] = field(default_factory=dict)
    copies: Mapping[str, int] = field(default_factory=dict)
    url: str = ""

    async def infer(self, request: web.Request) -> web.Response:
        engine = request.headers["X-Engine"]
        self.asked.append(engine)
        content = await request.read()
        await asyncio.sleep(self.delays_s.get(engine, 0.0))
        if engine in self.failing:
            return web.json_response({"error": "no"}, status=503)
        inputs = np.frombuffer(content[int(request.headers[HEADER_LENGTH]) :], np.float32).reshape(1, 3)
        body, headers = encode_request({"y": compute(inputs) + (engine in self.wrong and self.is_hard(inputs))})
        headers[HEADER_LENGTH] = str(int(headers[HEADER_LENGTH]) + 1)  # "outputs" for "inputs"
        headers |= {"X-Engine": engine, "X-Model-Version": str(self.version)}
        headers["Server-Timing"] = "decode;dur=0.1, queue;dur=0.2, upstream;dur=0.5, encode;dur=0.1, total;dur=1.0"
        return web.Response(body=body.replace(b'"inputs"', b'"outputs"', 1), headers=headers)

    async def metrics(self, request: web.Request) -> web.Response:
        lines = [f'twinserve_engine_up{{engine="{e}",implementation="{i}"}} 1.0' for e, i in ENGINES.items()]
        lines += [
            f'twinserve_mirror_total{{model="{MODEL}",result="{result}",version="{VERSION}"}} {count}.0'
            for result, count in self.copies.items()
        ]
        return web.Response(text="# HELP x y\n" + "\n".join(lines) + "\n")

    async def state(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": "who are you"}, status=401)
        return web.json_response({"mirror": dict(self.mirror)})

    async def ready(self, request: web.Request) -> web.Response:
        return web.json_response({"ready": True})

    async def metadata(self, request: web.Request) -> web.Response:
        spec = {"name": "x", "datatype": "FP32", "shape": [-1, 3]}
        versions = [str(version) for version in self.resident or (self.version,)]
        return web.json_response({"name": MODEL, "versions": versions, "inputs": [spec], "outputs": []})

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post(f"/v2/models/{MODEL}/infer", self.infer)
        app.router.add_get(f"/v2/models/{MODEL}", self.metadata)
        app.router.add_get("/v2/health/ready", self.ready)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_get(f"/admin/models/{MODEL}", self.state)
        return app


@asynccontextmanager
async def serving(deployment: FakeDeployment) -> AsyncIterator[FakeDeployment]:
    """Run it on a free port of the loopback."""
    server = TestServer(deployment.app())
    await server.start_server()
    deployment.url = f"http://127.0.0.1:{server.port}"
    try:
        yield deployment
    finally:
        await server.close()
