"""What alerts are about, in a test's hands: a real gateway over fake engines, its clients, and a liar.

The gateway is the product's, with its HTTP server; only the engines behind it are stand-ins that do as they are told.
"""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import requests
import uvicorn

from contracts.live import Live, write_live
from gateway.app import make_app
from gateway.core.messages import EngineBatch
from gateway.core.tensors import Tensor
from gateway.engines.fake import FakeEngine
from gateway.http_server import make_server
from gateway.settings import Settings
from tests.platform_process import wait_until
from tests.ports import free_port
from tests.unit.gateway.test_repository import publish

TOKEN = "operators-only"
SECOND = "torchserve/second"
"""The second endpoint of TorchServe; the first is called as its engine."""

PULSE_S = 0.5
START_TIMEOUT_S = 30
_PAUSE_S = 0.02
_BODY = {"inputs": [{"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}


def double(batch: EngineBatch) -> Mapping[str, Tensor]:
    """What the adder answers."""
    return {"sum": batch.inputs["a"] * 2}


def triple(batch: EngineBatch) -> Mapping[str, Tensor]:
    """What it should not."""
    return {"sum": batch.inputs["a"] * 3}


class StagedGateway:
    """A gateway that serves the adder, version 1 of 2, in a thread; it can be stopped and started again."""

    def __init__(self, repository: Path) -> None:
        paths = publish(repository, 1)
        publish(repository, 2)
        write_live(paths, Live(live=1))
        self._settings = Settings(
            repository=repository,
            http_port=free_port(),
            grpc_port=0,
            admin_token=TOKEN,
            probe_interval_s=0.1,
            patience_s=0.2,
            batch_rows=2,  # so that a slow engine has a queue
        )
        self.engines: Mapping[str, FakeEngine] = {}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._settings.http_port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @contextmanager
    def running(self) -> Iterator[None]:
        """While the block runs; ready when it begins."""
        started: list[uvicorn.Server] = []
        thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)))
        thread.start()
        try:
            wait_until(lambda: bool(started) and started[0].started, START_TIMEOUT_S, "the gateway listens")
            wait_until(lambda: requests.get(f"{self.url}/v2/health/ready", timeout=5).ok, START_TIMEOUT_S, "ready")
            yield
        finally:
            for server in started:
                server.should_exit = True
            thread.join(START_TIMEOUT_S)

    async def _serve(self, started: list[uvicorn.Server]) -> None:
        self._loop = asyncio.get_running_loop()
        self.engines = {name: FakeEngine(name, double) for name in ("torchserve", "tfserving")}
        self.engines[SECOND] = FakeEngine("torchserve", double, SECOND)
        app = make_app(self._settings, tuple(self.engines.values()), stop=lambda: None)
        server = make_server(app, self._settings, on_drain=lambda: None)
        started.append(server)
        await server.serve()

    def order(self, method: str, what: str, **body: Any) -> None:
        """An operator's call about the adder; it must be taken on."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = requests.request(
            method, f"{self.url}/admin/models/adder/{what}", json=body, headers=headers, timeout=10
        )
        assert answer.status_code in (200, 202), answer.text

    @contextmanager
    def answering_seldom(self, engine: str) -> Iterator[None]:
        """This engine answers what it has been given every half second only."""
        gate, stop = self.engines[engine].gate, threading.Event()

        def beat() -> None:
            self._loop.call_soon_threadsafe(gate.clear)
            while not stop.wait(PULSE_S):
                self._loop.call_soon_threadsafe(gate.set)
                self._loop.call_soon_threadsafe(gate.clear)
            self._loop.call_soon_threadsafe(gate.set)

        beating = threading.Thread(target=beat)
        beating.start()
        try:
            yield
        finally:
            stop.set()
            beating.join()


@contextmanager
def asking(url: str, clients: int, engine: str = "", timeout_s: float = 30.0) -> Iterator[None]:
    """So many clients that each ask one row after another, whatever the answer, while the block runs."""
    stop = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_ask_all(url, clients, engine, timeout_s, stop)))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


async def _ask_all(url: str, clients: int, engine: str, timeout_s: float, stop: threading.Event) -> None:
    body = {**_BODY, "parameters": {"timeout": int(timeout_s * 1e6), **({"engine": engine} if engine else {})}}
    never = asyncio.Event()

    async def ask(session: aiohttp.ClientSession) -> None:
        while not stop.is_set():
            with suppress(aiohttp.ClientError):
                async with session.post(f"{url}/v2/models/adder/infer", json=body) as answer:
                    await answer.read()
            with suppress(TimeoutError):
                await asyncio.wait_for(never.wait(), _PAUSE_S)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(ask(session) for _ in range(clients)))


class LyingExporter:
    """Tells a ledger of five requests; two of them are unaccounted for while it lies.

    No gateway can be brought to that: a ledger that does not balance would be a bug of the product's.
    """

    def __init__(self) -> None:
        self.is_lying = False

    @contextmanager
    def running(self) -> Iterator[str]:
        """While the block runs; yields its HOST:PORT."""
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(exporter.exposition().encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()

    def exposition(self) -> str:
        """What it tells now."""
        labels = '{model="liar",version="1"}'
        counts = {"accepted": 5, "answered": 3 if self.is_lying else 5, "failed": 0}
        lines = [f"twinserve_ledger_{kind}_total{labels} {count}" for kind, count in counts.items()]
        lines += [f'twinserve_{gauge}{{engine="torchserve"}} 0' for gauge in ("inflight", "queue_rows")]
        return "\n".join([*lines, ""])
