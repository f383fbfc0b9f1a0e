"""Every rule and every query of the dashboard's finds data when a real Prometheus watches a real platform.

In `make compose-test` that is the profile `monitoring` as it is shipped, with Debian's Prometheus in the place of the
official image and a second gateway container beside the first; in `make test`, monitoring/prometheus.yml and the
platform's ports, scraped more often. Grafana itself is not run (tests/unit/test_monitoring.py reads its files).
"""

import asyncio
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from contracts.addresses import Ports
from tests.composed.composed_platform import ComposedPlatform, docker
from tests.monitoring.monitored_queries import FOLDER, RECORDED, dashboard_expressions, load_yaml
from tests.monitoring.prometheus_server import IMAGE, Prometheus, running_prometheus
from tests.platform_process import Platform, wait_until
from tests.ports import free_port
from tests.served_platform import ServedPlatform
from tests.traffic import send_until
from workers.mnist import Split

pytestmark = pytest.mark.engines

SCRAPED_WITHIN_S = 90
DATA_WITHIN_S = 150
ASKED_EVERY_S = 1.0
# What only `twinserve up` measures, and where there is a GPU.
MEASURED = {"twinserve_engine_memory_bytes", "twinserve_engine_cpu_seconds_total"}
OF_GPUS = {
    "twinserve_gpu_utilisation_ratio",
    "twinserve_engine_gpu_memory_bytes",
    "twinserve_gpu_energy_joules_total",
}


@pytest.fixture(scope="module")
def prometheus(platform: ServedPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that scrapes the platform under test; all its targets are up."""
    if isinstance(platform, ComposedPlatform):
        with second_gateway(platform), composed_prometheus(platform) as prometheus:
            wait_until(lambda: up(prometheus) == [True, True], SCRAPED_WITHIN_S, "both gateways are scraped")
            yield prometheus
        return
    assert isinstance(platform, Platform)
    folder = tmp_path_factory.mktemp("prometheus")
    with running_prometheus(folder, configure(folder, platform.ports)) as prometheus:
        wait_until(lambda: up(prometheus) == [True] * 3, SCRAPED_WITHIN_S, "the gateway and both engines are scraped")
        yield prometheus


def up(prometheus: Prometheus) -> list[bool]:
    return [health == "up" for _, health in prometheus.targets()]


def configure(folder: Path, ports: Ports) -> Path:
    """monitoring/prometheus.yml for a platform on other ports, asked every second."""
    known, document = Ports(), load_yaml(FOLDER / "prometheus.yml")
    moved = {f"127.0.0.1:{getattr(known, field.name)}": getattr(ports, field.name) for field in fields(Ports)}
    for job in document["scrape_configs"]:
        [only] = job["static_configs"]
        only["targets"] = [f"127.0.0.1:{moved[target]}" for target in only["targets"]]
    document["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for name in document["rule_files"]:
        shutil.copy(FOLDER / name, folder)  # beside it, where a container may read them too
    document["rule_files"] = [Path(name).name for name in document["rule_files"]]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(document), "utf-8")
    return path


@contextmanager
def composed_prometheus(platform: ComposedPlatform) -> Iterator[Prometheus]:
    """The service `prometheus` of docker-compose.yml, healthy."""
    port = free_port()
    platform.compose.settings |= {"TWINSERVE_PROMETHEUS_PORT": str(port), "TWINSERVE_PROMETHEUS_IMAGE": IMAGE}
    try:
        done = platform.compose("up", "-d", "--no-deps", "prometheus")
        assert done.returncode == 0, done.stderr
        wait_until(lambda: health(platform, "prometheus") == "healthy", SCRAPED_WITHIN_S, "Prometheus is healthy")
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        platform.compose("rm", "-s", "-f", "-v", "prometheus")


@contextmanager
def second_gateway(platform: ComposedPlatform) -> Iterator[None]:
    """Another container of the gateway's, without ports on the host; it goes by the same name in its networks."""
    done = platform.compose("run", "-d", "--no-deps", "--use-aliases", "gateway")
    assert done.returncode == 0, done.stderr
    container = done.stdout.split()[-1]
    try:
        yield
    finally:
        docker("rm", "-f", "-v", container)


def health(platform: ComposedPlatform, service: str) -> str:
    return str(platform.inspect(service)["State"]["Health"]["Status"])


def test_every_rule_and_every_query_of_the_dashboard_finds_data(
    platform: ServedPlatform, prometheus: Prometheus, mnist_test: Split
) -> None:
    pending = [rule["record"] for rule in RECORDED] + list(dashboard_expressions())
    if isinstance(platform, Platform):
        wait_until(lambda: unmeasured(platform) <= OF_GPUS, SCRAPED_WITHIN_S, "`up` has measured the engines")
    absent = unmeasured(platform)
    pending = [query for query in pending if not any(metric in query for metric in absent)]
    with traffic(platform, mnist_test), mirrored(platform):
        wait_until(lambda: prometheus.has_data("model:twinserve_valid_requests:rate5m > 0"), SCRAPED_WITHIN_S, "load")
        for version in (1, 2):
            done = platform.run("promote", "mnist", str(version))
            assert done.returncode == 0, done.stderr
        withdraw_a_canary(platform)

        pause = threading.Event()

        def all_seen() -> bool:
            pause.wait(ASKED_EVERY_S)
            pending[:] = [query for query in pending if not prometheus.has_data(query)]
            return not pending

        try:
            wait_until(all_seen, DATA_WITHIN_S, "every query has found data")
        except AssertionError as error:
            raise AssertionError(f"{error}; not so:\n" + "\n".join(pending)) from None
    assert prometheus.broken_rules() == {}


def unmeasured(platform: ServedPlatform) -> set[str]:
    """What this platform measures nothing of; it does not tell such a metric at all."""
    text = platform.metrics()
    return {metric for metric in MEASURED | OF_GPUS if f"\n{metric}{{" not in text}


@contextmanager
def traffic(platform: ServedPlatform, mnist_test: Split) -> Iterator[None]:
    """Two clients that ask without pause."""
    stop = threading.Event()
    asking = send_until(platform.url, mnist_test.images[:1], lambda _: stop.is_set(), 2)
    thread = threading.Thread(target=lambda: asyncio.run(asking))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def mirrored(platform: ServedPlatform) -> Iterator[None]:
    """Every other answer of TorchServe's is copied to the other engine."""
    order(platform, "PUT", "routing", mirror={"tfserving": 0.5})
    try:
        yield
    finally:
        order(platform, "PUT", "routing", mirror={})


def withdraw_a_canary(platform: ServedPlatform) -> None:
    """Which is a rollout that failed."""
    order(platform, "POST", "promote", version=1, canary=[1, 100], hold_s=300)
    wait_until(lambda: platform.state()["models"][0]["candidate"] is not None, 30, "the rollout is under way")
    order(platform, "POST", "rollback?wait=true")
    assert platform.state()["models"][0]["live"] == 2


def order(platform: ServedPlatform, method: str, what: str, **body: Any) -> None:
    headers = {"Authorization": f"Bearer {platform.token}"}
    url = f"{platform.url}/admin/models/mnist/{what}"
    answer = requests.request(method, url, json=body, headers=headers, timeout=120)
    assert answer.status_code in (200, 202), answer.text


@pytest.mark.only_on("compose", "it is about networks of containers")
def test_prometheus_reaches_the_gateway_and_no_engine(platform: ComposedPlatform, prometheus: Prometheus) -> None:
    reach = "timeout 2 bash -c '</dev/tcp/{}/{}' 2>/dev/null && echo yes; true"
    assert platform.shell("prometheus", reach.format("gateway", 8000)).stdout == "yes\n"
    for engine, port in (("torchserve", 8082), ("tfserving", 8501)):
        [network] = platform.inspect(engine)["NetworkSettings"]["Networks"].values()
        for host in (engine, network["IPAddress"]):
            assert platform.shell("prometheus", reach.format(host, port)).stdout == "", host
