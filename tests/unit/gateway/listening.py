"""A gateway over fake engines that really listens, for tests that speak raw bytes or real HTTP."""

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
import uvicorn

from contracts.live import Live, write_live
from gateway.app import GatewayApp, make_app
from gateway.engines.fake import Answer, FakeEngine
from gateway.http_server import make_server
from gateway.settings import Settings
from tests.platform_process import free_ports, wait_until
from tests.unit.gateway.served import answer
from tests.unit.gateway.test_repository import publish

GOOD = b'{"inputs": [{"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}'
INFER = b"POST /v2/models/adder/infer HTTP/1.1\r\nhost: x\r\n"


class Listening:
    """A gateway over fake engines, on a socket of its own."""

    def __init__(
        self,
        server: uvicorn.Server,
        port: int,
        grpc_target: str,
        engines: tuple[FakeEngine, ...],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.server = server
        self.port = port
        self.grpc_target = grpc_target
        self._engines = engines
        self._loop = loop

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """No engine answers while the block runs; it begins once they were asked nothing for a moment."""
        for engine in self._engines:
            self._loop.call_soon_threadsafe(engine.gate.clear)
            self._loop.call_soon_threadsafe(engine.asked.clear)
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Let the engines answer."""
        for engine in self._engines:
            self._loop.call_soon_threadsafe(engine.gate.set)

    def lose(self, name: str) -> None:
        """This engine cannot be reached any more."""
        for engine in self._engines:
            if engine.name == name:
                engine.is_reachable = False

    def is_asked(self) -> bool:
        """Whether an engine was asked since `held_up` began."""
        return any(engine.asked.is_set() for engine in self._engines)

    def metric(self, sample: str) -> float:
        """A sample of its metrics, 0 when there is none."""
        text = requests.get(f"http://127.0.0.1:{self.port}/metrics", timeout=10).text
        found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def send(self, *parts: bytes) -> bytes:
        """Everything that comes back until the other side closes; the last part may be cut off by that."""
        with self.connect() as connection:
            for part in parts:
                try:
                    connection.sendall(part)
                except OSError:
                    break
            return read_all(connection)

    def is_listening(self) -> bool:
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def assert_well(self) -> None:
        response = requests.post(f"http://127.0.0.1:{self.port}/v2/models/adder/infer", data=GOOD, timeout=10)
        assert (response.status_code, response.json()["outputs"][0]["data"]) == (200, [2.0, 4.0])


def read_all(connection: socket.socket) -> bytes:
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass  # closed with unread data of ours in its buffer
    return received


@contextmanager
def listening_gateway(folder: Path, answer: Answer = answer, stop_notice_s: float = 0.0) -> Iterator[Listening]:
    """Run it in a thread while the block runs; its repository, made in `folder`, holds version 1 of the adder.

    What else the folder holds is served too, and `answer` is what the engines answer.
    """
    write_live(publish(folder, 1), Live(live=1))
    settings = Settings(
        repository=folder,
        http_port=free_ports().http,
        grpc_port=0,
        default_timeout_s=1,
        body_limit_bytes=100_000,
        admin_token="t",
        stop_notice_s=stop_notice_s,
    )
    started: list[uvicorn.Server] = []
    apps: list[GatewayApp] = []
    engines: list[FakeEngine] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        engines.extend(FakeEngine(name, answer) for name in ("torchserve", "tfserving"))
        apps.append(make_app(settings, tuple(engines), stop=lambda: None))
        server = make_server(apps[0], settings, on_drain=lambda: None)
        started.append(server)
        await server.serve()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    wait_until(lambda: bool(started) and started[0].started, 30, "it listens")
    yield Listening(started[0], settings.http_port, apps[0].grpc.port.target, tuple(engines), loops[0])
    started[0].should_exit = True
    thread.join(30)
