"""A gateway that is told to stop says so first, to balancers and clients, and answers everybody until it does."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from grpc_health.v1 import health_pb2

from gateway.app import GatewayApp
from tests.platform_process import free_ports, wait_until, wait_until_async
from tests.unit.gateway.listening import GOOD, Listening, listening_gateway
from tests.unit.gateway.rpc import INFER, INFERENCE, infer_request
from tests.unit.gateway.served import make_gateway

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LONG_S = 60.0


def url(here: Listening, path: str) -> str:
    return f"http://127.0.0.1:{here.port}{path}"


def is_ready(here: Listening) -> bool:
    return requests.get(url(here, "/v2/health/ready"), timeout=10).status_code == 200


def signalled(here: Listening) -> None:
    """As uvicorn's handler of SIGTERM is called; a test's thread cannot be sent one."""
    here.server.handle_exit(signal.SIGTERM, None)


def test_it_is_not_ready_answers_all_and_keeps_no_connection(tmp_path: Path) -> None:
    with listening_gateway(tmp_path, stop_notice_s=LONG_S) as here:
        wait_until(lambda: is_ready(here), 10, "ready")
        with requests.Session() as session:
            kept = session.post(url(here, "/v2/models/adder/infer"), data=GOOD, timeout=10)
            assert "connection" not in kept.headers
            signalled(here)
            wait_until(lambda: not is_ready(here), 10, "it says that it is not ready")
            # The kept connection, past ASGI; then new ones, both ways.
            for path, body in (("/v2/models/adder/infer", GOOD), ("/v2/models/adder/infer", GOOD), ("/v2", None)):
                answer = session.request("POST" if body else "GET", url(here, path), data=body, timeout=10)
                assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert requests.get(url(here, "/v2/health/live"), timeout=10).status_code == 200
        assert requests.get(url(here, "/ping"), timeout=10).status_code == 500
        signalled(here)  # the second one ends the notice
        wait_until(lambda: not here.is_listening(), 10, "it has stopped")


def test_it_stops_when_the_notice_is_over(tmp_path: Path) -> None:
    with listening_gateway(tmp_path, stop_notice_s=0.5) as here:
        signalled(here)
        assert not here.server.should_exit
        wait_until(lambda: not here.is_listening(), 10, "it has stopped by itself")


def test_without_a_notice_it_stops_at_once(tmp_path: Path) -> None:
    with listening_gateway(tmp_path) as here:
        signalled(here)
        assert here.server.should_exit


def test_an_answer_that_was_owed_at_the_notice_is_the_last_of_its_connection(tmp_path: Path) -> None:
    with listening_gateway(tmp_path, stop_notice_s=LONG_S) as here:
        wait_until(lambda: is_ready(here), 10, "ready")
        head = b"POST /v2/models/adder/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(GOOD)
        with here.connect() as connection:
            with here.held_up():
                connection.sendall(head + GOOD)
                wait_until(here.is_asked, 10, "it is under way")
                signalled(here)
                wait_until(lambda: not is_ready(here), 10, "notice is given")
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in received
        signalled(here)


@asynccontextmanager
async def rpc_gateway(folder: Path, **settings: Any) -> AsyncIterator[tuple[GatewayApp, grpc.aio.Channel]]:
    app, _ = make_gateway(folder, **settings)
    async with (
        app.fastapi.router.lifespan_context(app.fastapi),
        grpc.aio.insecure_channel(app.grpc.port.target) as channel,
    ):
        yield app, channel


async def test_health_over_grpc_says_it_to_who_asks_and_who_watches(tmp_path: Path) -> None:
    decode = health_pb2.HealthCheckResponse.FromString
    async with rpc_gateway(tmp_path) as (app, channel):
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check", response_deserializer=decode)
        watch: Any = channel.unary_stream("/grpc.health.v1.Health/Watch", response_deserializer=decode)

        async def is_serving() -> bool:
            return bool((await check(b"")).status == SERVING)

        await wait_until_async(is_serving, 10, "ready")
        seen = aiter(watch(b""))
        assert (await anext(seen)).status == SERVING
        app.notice.give()
        assert (await asyncio.wait_for(anext(seen), 5)).status == NOT_SERVING
        assert not await is_serving()
        infer: Any = channel.unary_unary(INFER)
        answer = await infer(infer_request(id="late").SerializeToString())
        assert INFERENCE.ModelInferResponse.FromString(answer).id == "late"
        # It is told once: a watch does not turn round and round on a notice that stays.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(seen), 0.3)


async def test_behind_a_balancer_connections_are_renewed_and_no_call_fails(tmp_path: Path) -> None:
    """So that the balancer has led them elsewhere before a gateway stops."""
    async with rpc_gateway(tmp_path, stop_notice_s=0.6) as (_, channel):
        infer: Any = channel.unary_unary(INFER)
        await channel.channel_ready()
        for number in range(3):
            answer = await infer(infer_request(id=str(number)).SerializeToString(), wait_for_ready=True)
            assert INFERENCE.ModelInferResponse.FromString(answer).id == str(number)
            # The server has said GOAWAY: the channel has no connection until it is asked for one.
            await asyncio.wait_for(channel.wait_for_state_change(grpc.ChannelConnectivity.READY), 10)


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.long
def test_the_second_signal_ends_the_notice_of_every_process(tmp_path: Path, processes: str) -> None:
    ports = free_ports()
    environment = {
        **os.environ,
        **ports.to_environment(),
        "TWINSERVE_REPOSITORY": str(tmp_path),
        "TWINSERVE_GATEWAY_PROCESSES": processes,
        "TWINSERVE_STOP_NOTICE_S": str(LONG_S),
    }
    live = f"http://127.0.0.1:{ports.http}/v2/health/live"

    def answers() -> bool:
        try:
            return requests.get(live, timeout=5).status_code == 200
        except requests.RequestException:
            return False

    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen([sys.executable, "-m", "gateway"], env=environment, stderr=output)
        try:
            wait_until(lambda: log.read_text().count("gRPC on") == int(processes), 60, "all of them serve")
            wait_until(answers, 60, "HTTP too")
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: log.read_text().count("no longer ready") == int(processes), 20, "all have given notice")
            assert answers()
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
