"""What goes along with a batch reaches the engine: as headers, or as gRPC metadata."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from contracts import blobs
from contracts.tfserving import PREDICT, PREDICT_SERVICE
from gateway.core.messages import EngineBatch
from gateway.engines.tfserving import TfServing, TfServingAddress
from tests.unit.gateway.rpc import TENSORFLOW
from tests.unit.gateway.scripted_server import Server, listening
from tests.unit.gateway.test_torchserve_calls import engine_at, reply

ROWS = np.ones((1, 2), np.float32)
CONTEXT = (("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("tracestate", "vendor=1"))


def batch(metadata: tuple[tuple[str, str], ...]) -> EngineBatch:
    return EngineBatch("adder", 1, {"a": ROWS}, asyncio.get_running_loop().time() + 10, metadata)


@pytest.mark.parametrize("metadata", [CONTEXT, ()])
async def test_torchserve_is_told_by_headers(tmp_path: Path, metadata: tuple[tuple[str, str], ...]) -> None:
    async with listening(Server([reply(200, blobs.encode({"sum": ROWS}))])) as server:
        engine = engine_at(server.url, tmp_path)
        await engine.infer(batch(metadata))
        [(_, head, _)] = server.requests
        await engine.close()
    lines = [f"{name}: {value}".encode() for name, value in CONTEXT]
    assert [line in head.split(b"\r\n") for line in lines] == [bool(metadata)] * 2


@pytest.mark.parametrize("metadata", [CONTEXT, ()])
async def test_tensorflow_serving_is_told_by_metadata(tmp_path: Path, metadata: tuple[tuple[str, str], ...]) -> None:
    told: dict[str, Any] = {}

    async def predict(_: bytes, context: Any) -> bytes:
        told.update(context.invocation_metadata())
        return bytes(TENSORFLOW.PredictResponse().SerializeToString())

    server = grpc.aio.server()
    handlers: dict[str, Any] = {PREDICT.rsplit("/", 1)[1]: grpc.unary_unary_rpc_method_handler(predict)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(PREDICT_SERVICE, handlers),))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    engine = TfServing(TfServingAddress(target, "fake", tmp_path))
    await engine.infer(batch(metadata))
    await engine.close()
    await server.stop(None)
    assert {name: told[name] for name in ("traceparent", "tracestate") if name in told} == dict(metadata)
