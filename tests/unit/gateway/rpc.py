"""A client of the gateway's gRPC port that sends whatever it is given, and a gateway in the test's own loop."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx2

from contracts.descriptors import Package, load_pool
from contracts.tfserving import load_messages
from gateway.engines.fake import FakeEngine
from gateway.grpc_server import GrpcServer
from tests.platform_process import wait_until_async
from tests.unit.gateway.served import make_gateway

POOL = load_pool()
INFERENCE = Package(POOL, "inference")
TENSORFLOW = load_messages(POOL)
INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
PREDICT = "/tensorflow.serving.PredictionService/Predict"


@dataclass(frozen=True)
class Outcome:
    """What came back: a code, its message, the answer's bytes, and metadata from both ends of the answer."""

    code: grpc.StatusCode
    said: str
    message: bytes
    initial: Mapping[str, str]
    trailing: Mapping[str, str]


class RpcClient:
    """Calls methods by their paths."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def call(
        self, path: str, message: Any, metadata: Mapping[str, str] | None = None, timeout_s: float = 10
    ) -> Outcome:
        """Send bytes, or a message."""
        data = message if isinstance(message, bytes) else message.SerializeToString()
        said = tuple((metadata or {}).items())
        method: Any = self._channel.unary_unary(path)
        answer, call = b"", None
        try:
            answer, call = method.with_call(data, timeout=timeout_s, metadata=said)
        except grpc.RpcError as error:
            call = error
        failed: Any = call
        return Outcome(
            code=failed.code(),
            said=failed.details() or "",
            message=answer,
            initial=dict(failed.initial_metadata() or ()),
            trailing=dict(failed.trailing_metadata() or ()),
        )


@contextmanager
def rpc_client(target: str) -> Iterator[RpcClient]:
    with grpc.insecure_channel(target) as channel:
        yield RpcClient(channel)


@dataclass(frozen=True)
class Here:
    """A gateway in the running event loop, and a channel to it."""

    server: GrpcServer
    engines: Mapping[str, FakeEngine]
    channel: grpc.aio.Channel
    http: httpx2.AsyncClient

    async def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        text = (await self.http.get("/metrics")).text
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.split("{")[0] == name)

    async def until(self, metric: str, value: float, what: str) -> None:
        """Wait until a metric has this value."""

        async def holds() -> bool:
            return await self.metric(metric) == value

        await wait_until_async(holds, 5, what)


@asynccontextmanager
async def gateway_here(folder: Path, **settings: Any) -> AsyncIterator[Here]:
    app, engines = make_gateway(folder, **settings)
    async with (
        app.fastapi.router.lifespan_context(app.fastapi),
        grpc.aio.insecure_channel(app.grpc.port.target) as channel,
    ):
        ready: Any = channel.unary_unary("/inference.GRPCInferenceService/ServerReady")

        async def is_ready() -> bool:
            return bool(INFERENCE.ServerReadyResponse.FromString(await ready(b"")).ready)

        await wait_until_async(is_ready, 10, "both engines are ready")
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as http:
            yield Here(app.grpc, engines, channel, http)


def infer_request(rows: int = 1, is_raw: bool = True, **fields: Any) -> Any:
    """A good ModelInferRequest for the adder: rows of 1 and 2."""
    request = INFERENCE.ModelInferRequest(**{"model_name": "adder", **fields})
    tensor = request.inputs.add(name="a", datatype="FP32", shape=[rows, 2])
    if is_raw:
        request.raw_input_contents.append(b"\x00\x00\x80\x3f\x00\x00\x00\x40" * rows)
    else:
        tensor.contents.fp32_contents.extend([1, 2] * rows)
    return request


def predict_request(rows: int = 1, **spec: Any) -> Any:
    """A good PredictRequest for the adder: rows of 1 and 2."""
    request = TENSORFLOW.PredictRequest()
    request.model_spec.name = spec.get("name", "adder")
    if "version" in spec:
        request.model_spec.version.value = spec["version"]
    if "label" in spec:
        request.model_spec.version_label = spec["label"]
    request.model_spec.signature_name = spec.get("signature", "")
    tensor = request.inputs["a"]
    tensor.dtype = 1
    for size in (rows, 2):
        tensor.tensor_shape.dim.add().size = size
    tensor.float_val.extend([1, 2] * rows)
    return request
