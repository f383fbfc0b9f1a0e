"""What /metrics says, by one process and by several."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.core.ports import VersionState
from gateway.core.usage import Stages, UsageBook
from gateway.metrics import MULTIPROCESS_VARIABLE, Metrics
from tests.unit.gateway.wired_core import Platform

ONE_BATCH = """
from gateway.core.usage import UsageBook
from gateway.metrics import Metrics
metrics = Metrics(UsageBook(), "1.2.3", lambda: {"torchserve": 1000})
metrics.in_flight_changed("torchserve", 4)
metrics.flush()
metrics.in_flight_changed("torchserve", -4)
text = metrics.exposition().decode()
"""


def values(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every value by the sample's name and its labels' values, sorted by label."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value for sample in samples
    }


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(UsageBook(), "1.2.3", lambda: {"torchserve": 1_000_000, "tfserving": 2_000_000})


def test_the_build_and_the_engines_memory_are_told(metrics: Metrics) -> None:
    told = values(metrics.exposition().decode())
    python = ".".join(map(str, sys.version_info[:3]))
    assert told["twinserve_build_info", (python, "1.2.3")] == 1
    assert told["twinserve_engine_memory_bytes", ("torchserve",)] == 1_000_000
    assert told["twinserve_engine_memory_bytes", ("tfserving",)] == 2_000_000


def test_rare_counts_are_at_zero_before_they_count(metrics: Metrics) -> None:
    metrics.version_seen("mnist", 2, "torchserve", VersionState.READY)
    told = values(metrics.exposition().decode())
    for name in ("accepted", "answered", "failed"):
        assert told[f"twinserve_ledger_{name}_total", ("mnist", "2")] == 0
    for result in ("match", "mismatch", "error", "dropped"):
        assert told["twinserve_mirror_total", ("mnist", result, "2")] == 0
    for phase in ("flip", "failed"):
        assert told["twinserve_swap_seconds_count", ("mnist", phase)] == 0


@pytest.mark.parametrize("is_protocol_first", [True, False])
def test_failures_of_a_version_are_at_zero_before_they_count(metrics: Metrics, is_protocol_first: bool) -> None:
    """In each protocol that is in use, whichever came first: the version, or who asks in the protocol."""
    if is_protocol_first:
        metrics.request_failed("", "", "", "oip_http", "not_found", 0.001)
    metrics.version_seen("mnist", 2, "torchserve", VersionState.LOADING)
    metrics.version_seen("mnist", 2, "tfserving", VersionState.LOADING)
    if not is_protocol_first:
        metrics.request_answered("mnist", 1, "torchserve", "oip_http", Stages(0.001, 0.001, 0.001, 0.001, 0.004))
    told = values(metrics.exposition().decode())
    begun = {labels for (name, labels), value in told.items() if name == "twinserve_requests_total" and value == 0}
    ours = {"error", "engine_error", "unavailable", "overloaded", "deadline", "repository"}
    expected = {(engine, outcome) for engine in ("", "torchserve", "tfserving") for outcome in ours}
    expected |= {("torchserve", "ok"), ("tfserving", "ok")}
    assert begun == {(engine, "mnist", outcome, "oip_http", "2") for engine, outcome in expected}
    metrics.request_failed("mnist", "2", "torchserve", "oip_http", "unavailable", 0.001)
    told = values(metrics.exposition().decode())
    assert told["twinserve_requests_total", ("torchserve", "mnist", "unavailable", "oip_http", "2")] == 1


def test_requests_that_an_engine_has_are_counted_before_they_end(metrics: Metrics) -> None:
    metrics.in_flight_changed("torchserve", 2)
    first = values(metrics.exposition().decode())
    second = values(metrics.exposition().decode())
    seconds = "twinserve_inflight_seconds_total", ("torchserve",)
    assert first["twinserve_inflight", ("torchserve",)] == 2
    assert 0 < first[seconds] < second[seconds]


def test_one_process_answers_for_all(tmp_path: Path) -> None:
    environment = {MULTIPROCESS_VARIABLE: str(tmp_path), "PYTHONPATH": str(Path(__file__).resolve().parents[3])}

    def told_by_another_process() -> dict[tuple[str, tuple[str, ...]], float]:
        command = [sys.executable, "-c", ONE_BATCH + "print(text)"]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        return values(ended.stdout)

    first, second = told_by_another_process(), told_by_another_process()
    seconds = "twinserve_inflight_seconds_total", ("torchserve",)
    assert 0 < first[seconds] < second[seconds], "the first one's time is not in the sum"
    assert second["twinserve_inflight", ("torchserve",)] == 0
    assert second["twinserve_engine_memory_bytes", ("torchserve",)] == 1000
    assert [value for (name, _), value in second.items() if name == "twinserve_build_info"] == [1]


async def test_a_rollout_that_fails_is_counted_once(platform: Platform) -> None:
    platform.answer_with(3, np.full((64, 2), 5, np.float32))
    assert (await platform.promote(3)).state == "failed"
    assert platform.events.counts["phase failed"] == 1
    assert (await platform.promote(1)).state == "done"
    assert platform.events.counts["phase failed"] == 1


def test_single_endpoints_are_told_while_they_are_there(metrics: Metrics) -> None:
    first, second = "torchserve/10.0.0.3:8080", "torchserve/10.0.0.4:8080"
    for endpoint in (first, second):
        metrics.endpoint_seen(endpoint, is_up=True)
        metrics.in_flight_changed(endpoint, 2)
    metrics.endpoint_seen(second, is_up=False)
    told = values(metrics.exposition().decode())
    assert told["twinserve_endpoint_up", (first, "torchserve")] == 1
    assert told["twinserve_endpoint_up", (second, "torchserve")] == 0
    assert told["twinserve_endpoint_inflight", (first, "torchserve")] == 2
    assert told["twinserve_endpoint_requests_total", (first, "torchserve")] == 2
    assert told["twinserve_inflight", ("torchserve",)] == 4
    metrics.endpoint_left(second)
    metrics.in_flight_changed(second, -2)
    left = values(metrics.exposition().decode())
    assert not [labels for _, labels in left if second in labels], "what is gone is not told of"
    assert left["twinserve_endpoint_up", (first, "torchserve")] == 1
    assert left["twinserve_inflight", ("torchserve",)] == 2
    metrics.endpoint_seen(second, is_up=True)
    back = values(metrics.exposition().decode())
    assert back["twinserve_endpoint_requests_total", (second, "torchserve")] == 2


def test_an_endpoint_that_is_gone_is_not_told_by_several_processes_either(tmp_path: Path) -> None:
    environment = {MULTIPROCESS_VARIABLE: str(tmp_path), "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    commands = (
        'metrics.endpoint_seen("torchserve/a:1", True); metrics.endpoint_seen("torchserve/b:1", True)',
        'metrics.endpoint_seen("torchserve/a:1", True)',
    )
    for command in commands:
        program = ONE_BATCH + command + "\nprint(metrics.exposition().decode())"
        ended = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=True
        )
    told = {labels[0] for name, labels in values(ended.stdout) if name == "twinserve_endpoint_requests_total"}
    assert told == {"torchserve/a:1"}, "the file of the first process has both"
