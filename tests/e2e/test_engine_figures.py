"""The engines' own counts beside the gateway's: after some requests they say the same."""

from collections import defaultdict
from collections.abc import Callable

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from contracts.tfserving_command import MONITORING_PATH
from gateway.engines.own_counters import OwnCounters, read_tfserving, read_torchserve
from tests.platform_process import Platform, wait_until
from twinserve.digits import golden_digits

pytestmark = [pytest.mark.engines, pytest.mark.only_on("up", "engines in containers are out of this test's reach")]

ENGINES = ("torchserve", "tfserving")
REQUESTS = 30
REPORTED = "twinserve_engine_reported"


def by_engine(text: str, name: str, stage: str | None = None) -> dict[str, float]:
    """The sum of a sample's values by engine."""
    found: dict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and stage in (None, sample.labels.get("stage")):
                found[sample.labels["engine"]] += sample.value
    return found


def own_counters(platform: Platform) -> dict[str, OwnCounters]:
    """What the engines say when they are asked directly."""
    pages: dict[str, tuple[str, Callable[[str], OwnCounters]]] = {
        "torchserve": (f"{platform.ports.torchserve_metrics}/metrics", read_torchserve),
        "tfserving": (f"{platform.ports.tfserving_rest}{MONITORING_PATH}", read_tfserving),
    }
    found = {}
    for engine, (address, read) in pages.items():
        response = requests.get(f"http://127.0.0.1:{address}", timeout=10)
        assert response.status_code == 200, address
        found[engine] = read(response.text)
    return found


def infer(platform: Platform, engine: str) -> None:
    image = golden_digits(1)[0][0]
    tensor = {"name": "images", "datatype": "FP32", "shape": [1, 28, 28], "data": image.ravel().tolist()}
    url = f"{platform.url}/v2/models/mnist/infer"
    response = requests.post(url, json={"inputs": [tensor]}, headers={"X-Engine": engine}, timeout=30)
    assert response.status_code == 200, response.text


def test_ours_and_the_engines_own_counts_agree(platform: Platform) -> None:
    wait_until(platform.has_settled, 60, "all versions are loaded and warmed")
    own, before = own_counters(platform), platform.metrics()
    for engine in ENGINES * REQUESTS:
        infer(platform, engine)
    after = platform.metrics()
    ours = by_engine(after, "twinserve_batch_rows_count")
    for engine, count in by_engine(before, "twinserve_batch_rows_count").items():
        ours[engine] -= count
    assert min(ours.values()) >= REQUESTS

    def told() -> dict[str, float]:
        reported = by_engine(platform.metrics(), f"{REPORTED}_requests_total")
        return {engine: reported[engine] - own[engine].requests for engine in ENGINES}

    wait_until(lambda: told() == ours, 20, f"the engines count what the gateway does: {ours}")
    final = platform.metrics()
    assert by_engine(final, f"{REPORTED}_failures_total") == {engine: own[engine].failures for engine in ENGINES}
    for engine in ENGINES:
        waited_s = [by_engine(text, "twinserve_stage_seconds_sum", "upstream")[engine] for text in (before, final)]
        upstream_s = waited_s[1] - waited_s[0]
        spent_s = by_engine(final, f"{REPORTED}_inference_seconds_total")[engine] - own[engine].inference_s
        print(f"{engine}: {ours[engine]:.0f} batches, {spent_s:.4f} s by its own count, {upstream_s:.4f} s by ours")
        assert 0 < spent_s < upstream_s * 1.01 + 0.001, "its own time lies within the time that we waited"
    assert by_engine(final, f"{REPORTED}_queue_seconds_total")["torchserve"] >= (own["torchserve"].queue_s or 0)


def test_the_processor_time_of_both_engines_is_told_and_grows(platform: Platform) -> None:
    def told() -> dict[str, float]:
        return by_engine(platform.metrics(), "twinserve_engine_cpu_seconds_total")

    wait_until(lambda: set(told()) == set(ENGINES), 30, "both are measured")
    before = told()
    assert min(before.values()) > 1, "starting alone takes that"

    def has_grown() -> bool:
        infer(platform, "torchserve")
        infer(platform, "tfserving")
        now = told()
        return all(now[engine] > before[engine] for engine in ENGINES)

    wait_until(has_grown, 60, "both have used more")
