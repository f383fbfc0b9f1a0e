"""Calls that end early, and servers that do: deadlines, clients that leave, drains, health as it changes."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from gateway.grpc_port import GrpcPort, check_free, held
from gateway.grpc_server import GrpcServer
from gateway.protocols.rpc.streams import MOST_AHEAD
from tests.platform_process import free_ports
from tests.unit.gateway.rpc import INFER, INFERENCE, STREAM, Here, gateway_here, infer_request

WATCH = "/grpc.health.v1.Health/Watch"
CHECK = "/grpc.health.v1.Health/Check"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Here]:
    async with gateway_here(tmp_path, batch_in_flight=1) as here:
        yield here


def hold_engines(here: Here) -> None:
    """From now on no engine answers, until its gate is opened."""
    for engine in here.engines.values():
        engine.gate.clear()
        engine.asked.clear()
        engine.batches.clear()


def release_engines(here: Here) -> None:
    for engine in here.engines.values():
        engine.gate.set()


async def test_a_cancelled_call_leaves_the_queue(here: Here) -> None:
    infer: Any = here.channel.unary_unary(INFER)
    hold_engines(here)
    metadata = (("x-engine", "torchserve"),)
    out = infer(infer_request().SerializeToString(), metadata=metadata)
    await asyncio.wait_for(here.engines["torchserve"].asked.wait(), 5)
    queued = infer(infer_request(rows=7).SerializeToString(), metadata=metadata)
    await here.until("twinserve_queue_rows", 7, "the second call waits")
    queued.cancel()
    await here.until("twinserve_queue_rows", 0, "it has left the queue")
    release_engines(here)
    assert await out
    await here.until("twinserve_inflight", 0, "nothing is under way")
    batches = [len(batch.inputs["a"]) for batch in here.engines["torchserve"].batches]
    assert 7 not in batches, "no engine saw it"
    assert await here.metric("twinserve_ledger_accepted_total") == 2
    assert await here.metric("twinserve_ledger_failed_total") == 1


async def test_the_deadline_of_a_call_is_the_engines_too(here: Here) -> None:
    infer: Any = here.channel.unary_unary(INFER)
    hold_engines(here)
    now = asyncio.get_running_loop().time()
    call = infer(infer_request().SerializeToString(), timeout=0.3, metadata=(("x-engine", "tfserving"),))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    [batch] = here.engines["tfserving"].batches
    assert now < batch.deadline < now + 0.6
    release_engines(here)


async def test_the_parameter_may_shorten_a_deadline_but_not_stretch_it(here: Here) -> None:
    infer: Any = here.channel.unary_unary(INFER)
    hold_engines(here)
    request = infer_request()
    request.parameters["timeout"].int64_param = 200_000
    call = infer(request.SerializeToString(), timeout=5, metadata=(("x-engine", "tfserving"),))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "the deadline passed before an engine answered" in (caught.value.details() or ""), "ours, not grpc's own"
    request.parameters["timeout"].int64_param = 60_000_000
    here.engines["tfserving"].batches.clear()
    now = asyncio.get_running_loop().time()
    with pytest.raises(grpc.aio.AioRpcError):
        await infer(request.SerializeToString(), timeout=0.2, metadata=(("x-engine", "tfserving"),))
    assert here.engines["tfserving"].batches[-1].deadline < now + 1
    release_engines(here)


async def test_a_client_that_leaves_its_stream_takes_its_requests_along(here: Here) -> None:
    hold_engines(here)
    stream: Any = here.channel.stream_stream(STREAM)(metadata=(("x-engine", "torchserve"),))
    for _ in range(3):
        await stream.write(infer_request(rows=5).SerializeToString())
    await here.until("twinserve_queue_rows", 10, "one is out, two wait")
    stream.cancel()
    await here.until("twinserve_queue_rows", 0, "they have left the queue")
    release_engines(here)
    await here.until("twinserve_inflight", 0, "nothing is under way")


async def test_a_client_far_ahead_of_its_answers_is_not_read(here: Here) -> None:
    hold_engines(here)
    stream: Any = here.channel.stream_stream(STREAM)()

    async def send() -> None:
        for number in range(200):
            await stream.write(infer_request(id=str(number)).SerializeToString())
        await stream.done_writing()

    sending = asyncio.ensure_future(send())
    await here.until("twinserve_ledger_accepted_total", MOST_AHEAD, "as many are read as a client may be ahead")
    release_engines(here)
    answers = [INFERENCE.ModelStreamInferResponse.FromString(answer) async for answer in stream]
    await sending
    assert [answer.infer_response.id for answer in answers] == [str(number) for number in range(200)]


async def test_a_drain_answers_what_was_asked_and_ends_streams(here: Here) -> None:
    hold_engines(here)
    unary: Any = here.channel.unary_unary(INFER)(infer_request(id="unary").SerializeToString())
    stream: Any = here.channel.stream_stream(STREAM)()
    watching: Any = here.channel.unary_stream(WATCH)
    watch = watching(b"")
    await stream.write(infer_request(id="streamed").SerializeToString())
    await here.until("twinserve_ledger_accepted_total", 2, "both are accepted")
    assert (await anext(aiter(watch))) == health_pb2.HealthCheckResponse(status=SERVING).SerializeToString()

    stopping = asyncio.ensure_future(here.server.stop())
    last = [health_pb2.HealthCheckResponse.FromString(message).status async for message in watch]
    assert last == [NOT_SERVING]
    release_engines(here)
    assert INFERENCE.ModelInferResponse.FromString(await unary).id == "unary"
    streamed = [INFERENCE.ModelStreamInferResponse.FromString(message) async for message in stream]
    assert [message.infer_response.id for message in streamed] == ["streamed"]
    await asyncio.wait_for(stopping, 5)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await here.channel.unary_unary(INFER)(infer_request().SerializeToString())
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_health_follows_the_engines(here: Here) -> None:
    check: Any = here.channel.unary_unary(CHECK, response_deserializer=health_pb2.HealthCheckResponse.FromString)
    method: Any = here.channel.unary_stream(WATCH, response_deserializer=health_pb2.HealthCheckResponse.FromString)
    watch = method(b"")
    seen = aiter(watch)
    for service in ("", "inference.GRPCInferenceService", "tensorflow.serving.PredictionService", "ModelService"):
        request = health_pb2.HealthCheckRequest(service=service)
        assert (await check(request.SerializeToString())).status == SERVING
    assert (await anext(seen)).status == SERVING
    for engine in here.engines.values():
        engine.is_reachable = False
    assert (await asyncio.wait_for(anext(seen), 5)).status == NOT_SERVING
    assert (await check(b"")).status == NOT_SERVING
    for engine in here.engines.values():
        engine.is_reachable = True
    assert (await asyncio.wait_for(anext(seen), 5)).status == SERVING
    watch.cancel()


async def test_health_of_a_service_that_is_not_there(here: Here) -> None:
    request = health_pb2.HealthCheckRequest(service="nobody").SerializeToString()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await here.channel.unary_unary(CHECK)(request)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watching: Any = here.channel.unary_stream(WATCH)
    watch = watching(request)
    first = health_pb2.HealthCheckResponse.FromString(await anext(aiter(watch)))
    assert first.status == SERVICE_UNKNOWN
    watch.cancel()


async def test_a_port_in_use_is_named(here: Here) -> None:
    taken = here.server.port
    said = rf"gRPC cannot listen on {taken.target} \(TWINSERVE_GRPC_PORT\)"
    with pytest.raises(OSError, match=said):
        check_free(taken)
    with pytest.raises(OSError, match=said):
        await GrpcServer(taken, 1024, lambda _: ()).start()
    with pytest.raises(OSError, match=said), held(taken):
        pass


async def test_processes_share_a_held_port() -> None:
    with held(GrpcPort("127.0.0.1", 0)) as number:
        shared = GrpcPort("127.0.0.1", number, is_shared=True)
        servers = [GrpcServer(shared, 1024, lambda _: ()) for _ in range(2)]
        for server in servers:
            await server.start()
        assert {server.port.number for server in servers} == {number}
        with pytest.raises(OSError, match="cannot listen"):
            check_free(GrpcPort("127.0.0.1", number))
        for server in servers:
            await server.stop()


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.long
def test_a_gateway_without_its_port_ends_with_the_reason(tmp_path: Path, processes: str) -> None:
    ports = free_ports()
    environment = {
        **os.environ,
        **ports.to_environment(),
        "TWINSERVE_REPOSITORY": str(tmp_path),
        "TWINSERVE_GATEWAY_PROCESSES": processes,
    }
    with socket.create_server(("127.0.0.1", ports.grpc)):
        command = [sys.executable, "-m", "gateway"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"gRPC cannot listen on 127.0.0.1:{ports.grpc} (TWINSERVE_GRPC_PORT)" in done.stderr
