"""A gateway in the running event loop that tells of its requests, asked in every way a request can come."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx2

from gateway.app import GatewayApp
from gateway.engines.fake import FakeEngine
from tests.platform_process import wait_until_async
from tests.unit.gateway.rpc import INFER, infer_request
from tests.unit.gateway.served import make_gateway

PATH = "/v2/models/adder/infer"


def infer_body(*rows: tuple[float, float], **more: Any) -> bytes:
    tensor = {"name": "a", "datatype": "FP32", "shape": [len(rows), 2], "data": rows}
    return json.dumps({"inputs": [tensor], **more}).encode()


@dataclass(frozen=True)
class Accounted:
    app: GatewayApp
    engines: Mapping[str, FakeEngine]
    channel: grpc.aio.Channel
    http: httpx2.AsyncClient

    def send(self, body: bytes, path: str = PATH, **headers: str) -> asyncio.Future[int]:
        """Ask as a plain connection does, past ASGI; the status comes later."""
        given = {"content-length": str(len(body)), **{name.replace("_", "-"): v for name, v in headers.items()}}
        head = self.app.express.find(b"POST", path.encode(), [(k.encode(), v.encode()) for k, v in given.items()])
        assert head is not None, "it is plain"
        status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.app.express.begin(head, body, lambda code, _lines, _body: status.set_result(code))
        return status

    async def post(self, body: bytes, path: str = PATH, **headers: str) -> int:
        """Ask by ASGI."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await self.http.post(path, content=body, headers=given)).status_code

    async def call(self, message: Any = None, method: str = INFER, **metadata: str) -> grpc.StatusCode:
        """Ask by gRPC."""
        said = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
        ask: Any = self.channel.unary_unary(method)
        data = (infer_request() if message is None else message).SerializeToString()
        try:
            await ask(data, timeout=10, metadata=said)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


@asynccontextmanager
async def accounted(folder: Path, **settings: Any) -> AsyncIterator[Accounted]:
    """What it had to write down is written when the block has ended."""
    app, engines = make_gateway(folder, **settings)
    async with (
        app.fastapi.router.lifespan_context(app.fastapi),
        grpc.aio.insecure_channel(app.grpc.port.target) as channel,
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://gateway") as http,
    ):

        async def is_ready() -> bool:
            return (await http.get("/v2/health/ready")).status_code == 200

        await wait_until_async(is_ready, 10, "both engines are ready")
        yield Accounted(app, engines, channel, http)
