"""Traces: a span a request with its stages, below the client's, told to engines, and nothing at all when off."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.accounts import spans
from tests.platform_process import free_ports
from tests.unit.gateway.accounted import PATH, Accounted, accounted, infer_body
from tests.unit.gateway.collector import Collector, attributes_of, collecting
from tests.unit.gateway.rpc import INFER, infer_request

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CLIENT = f"00-{TRACE}-{SPAN}-01"
UNSAMPLED = f"00-{TRACE}-{SPAN}-00"
STAGES = ["decode", "queue", "upstream", "encode"]
ONE = infer_body((1, 2))


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as there:
        yield there


def told_to(gateway: Accounted, engine: str) -> list[dict[str, str]]:
    """What went along with each batch of the adder's clients; one with nothing is a batch of several, or a probe."""
    return [dict(batch.metadata) for batch in gateway.engines[engine].batches if batch.metadata]


async def test_a_request_is_a_span_and_so_is_each_stage(tmp_path: Path, collector: Collector) -> None:
    async with accounted(tmp_path, otlp_endpoint=collector.endpoint) as gateway:
        assert await gateway.send(infer_body((1, 2), (3, 4)), x_engine="tfserving", x_request_id="mine") == 200
        (told,) = told_to(gateway, "tfserving")
    (server,) = collector.servers()
    assert (server.name, server.parent_span_id, len(server.trace_id)) == ("POST /v2/models/{model}/infer", b"", 16)
    assert server.status.code == server.status.STATUS_CODE_UNSET
    assert attributes_of(server) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v2/models/{model}/infer",
        "url.path": PATH,
        "url.scheme": "http",
        "twinserve.request_id": "mine",
        "twinserve.protocol": "oip_http",
        "twinserve.model": "adder",
        "twinserve.version": 2,
        "twinserve.engine": "tfserving",
        "twinserve.outcome": "ok",
        "twinserve.rows": 2,
    }
    stages = collector.below(server)
    assert list(stages) == STAGES
    assert len(collector.spans) == 1 + len(STAGES)
    for stage in stages.values():
        assert stage.trace_id == server.trace_id
        assert server.start_time_unix_nano <= stage.start_time_unix_nano <= stage.end_time_unix_nano
        assert stage.end_time_unix_nano <= server.end_time_unix_nano
    starts = [stages[name].start_time_unix_nano for name in STAGES]
    assert starts == sorted(starts)
    assert stages["upstream"].kind == server.SPAN_KIND_CLIENT
    assert attributes_of(stages["upstream"]) == {"twinserve.engine": "tfserving"}
    # What the engine does hangs below the stage in which it is asked.
    assert told == {"traceparent": f"00-{server.trace_id.hex()}-{stages['upstream'].span_id.hex()}-01"}
    assert collector.paths == {"/v1/traces"}
    assert collector.resource["service.name"] == "twinserve"


async def test_every_transport_follows_its_client(tmp_path: Path, collector: Collector) -> None:
    async with accounted(tmp_path, otlp_endpoint=collector.endpoint, trace_sample=0) as gateway:
        assert await gateway.send(ONE, traceparent=CLIENT, tracestate="vendor=1") == 200
        assert await gateway.post(ONE, traceparent=CLIENT) == 200
        assert await gateway.post(b'{"instances": [[1, 2]]}', "/v1/models/adder:predict", traceparent=CLIENT) == 200
        assert (await gateway.call(traceparent=CLIENT)).name == "OK"
        assert await gateway.send(ONE) == 200, "a trace of our own, of which none are told"
        told = [said for engine in gateway.engines for said in told_to(gateway, engine)]
    servers = collector.servers()
    assert [server.name for server in servers] == [
        "POST /v2/models/{model}/infer",
        "POST /v2/models/{model}/infer",
        "POST /v1/models/{model}:predict",
        INFER[1:],
    ]
    for server in servers:
        assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE, SPAN)
        assert list(collector.below(server)) == STAGES
    assert servers[0].trace_state == "vendor=1"
    said = attributes_of(servers[-1])
    assert (said["rpc.system.name"], said["rpc.method"]) == ("grpc", INFER[1:])
    assert said["rpc.response.status_code"] == "OK"
    assert sum(one["traceparent"].endswith("-01") for one in told) == 4
    assert [one.get("tracestate") for one in told].count("vendor=1") == 1


async def test_a_trace_that_the_client_does_not_sample(tmp_path: Path, collector: Collector) -> None:
    log = tmp_path / "access.log"
    async with accounted(tmp_path / "r", otlp_endpoint=collector.endpoint, access_log=str(log)) as gateway:
        assert await gateway.send(ONE, traceparent=UNSAMPLED) == 200
        assert await gateway.send(ONE) == 200
        told = [said["traceparent"] for engine in gateway.engines for said in told_to(gateway, engine)]
    (server,) = collector.servers()
    assert server.trace_id.hex() != TRACE
    assert sorted(parent.split("-")[1] == TRACE for parent in told) == [False, True]
    assert all(parent.endswith("-00") for parent in told if TRACE in parent), "engines are not to sample it either"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["trace_id"] for line in lines] == [TRACE, server.trace_id.hex()]


async def test_a_batch_of_several_belongs_to_no_one_trace(tmp_path: Path, collector: Collector) -> None:
    async with accounted(tmp_path, otlp_endpoint=collector.endpoint) as gateway:
        engine = gateway.engines["torchserve"]
        engine.batches.clear()
        two = [gateway.send(ONE, x_engine="torchserve") for _ in range(2)]  # in one turn of the event loop
        assert await asyncio.gather(*two) == [200, 200]
        together = [batch for batch in engine.batches if len(batch.inputs["a"]) == 2]
        assert [batch.metadata for batch in together] == [()]
    assert len(collector.servers()) == 2
    assert len({server.trace_id for server in collector.servers()}) == 2


async def test_what_fails_and_whose_fault_it_is(tmp_path: Path, collector: Collector) -> None:
    async with accounted(tmp_path, otlp_endpoint=collector.endpoint) as gateway:
        assert await gateway.send(infer_body((13, 2)), x_request_id="refused", x_engine="torchserve") == 400
        assert await gateway.send(b"no JSON", x_request_id="bad") == 400
        gateway.engines["torchserve"].gate.clear()
        late = infer_body((1, 2), parameters={"timeout": 20_000})
        assert await gateway.send(late, x_request_id="late", x_engine="torchserve") == 504
        gateway.engines["torchserve"].gate.set()
        assert (await gateway.call(infer_request(model_name="nobody"), x_request_id="rpc")).name == "NOT_FOUND"
    spans_of = {attributes_of(server)["twinserve.request_id"]: server for server in collector.servers()}
    said: dict[str, tuple[Any, ...]] = {}
    for name, server in spans_of.items():
        attributes = attributes_of(server)
        status = attributes.get("http.response.status_code", attributes.get("rpc.response.status_code"))
        said[name] = (status, attributes["error.type"], server.status.code == server.status.STATUS_CODE_ERROR)
    assert said == {
        "refused": (400, "engine_error", False),
        "bad": (400, "invalid", False),
        "late": (504, "deadline", True),
        "rpc": ("NOT_FOUND", "not_found", False),
    }
    # Engines that were told of a trace may have spans below this one.
    assert list(collector.below(spans_of["late"])) == ["upstream"]
    assert list(collector.below(spans_of["bad"])) == []


@pytest.mark.long
async def test_a_collector_that_is_not_there_costs_nothing_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(spans, "EXPORT_TIMEOUT_S", 1.5)  # for a second attempt, before which the first is told
    endpoint = f"http://127.0.0.1:{free_ports().http}"
    with caplog.at_level(logging.INFO):
        async with accounted(tmp_path, otlp_endpoint=endpoint) as gateway:
            for _ in range(2):
                asked = [gateway.send(ONE) for _ in range(300)]
                assert set(await asyncio.gather(*asked)) == {200}
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    away, lost = said
    assert f"no traces reach {endpoint}/v1/traces: " in away
    assert "refused" in away, "and why"
    assert lost == f"traces of 600 requests did not reach {endpoint}/v1/traces"


@pytest.mark.long
def test_off_imports_nothing(tmp_path: Path) -> None:
    """FastAPI loads OpenTelemetry's API by itself, where it is installed."""
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from tests.unit.gateway.accounted import accounted, infer_body\n"
        "async def ask():\n"
        f"    async with accounted(Path({str(tmp_path)!r})) as gateway:\n"
        "        assert await gateway.send(infer_body((1, 2))) == 200\n"
        "asyncio.run(ask())\n"
        "exporting = ('opentelemetry.sdk', 'opentelemetry.exporter', 'opentelemetry.proto', 'google.rpc')\n"
        "assert not [name for name in sys.modules if name.startswith(exporting)]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=Path(__file__).parents[3])
