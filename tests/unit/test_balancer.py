"""What the balancer's files promise, read as files: nothing here needs a Docker engine."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.settings import Settings
from twinserve.watchdog import WATCH_LABEL

ROOT = Path(__file__).resolve().parents[2]
CONFIG = (ROOT / "balancer" / "haproxy.cfg").read_text()


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.balancer.yml").read_text())["services"]
    assert set(found) == {"gateway", "balancer"}
    return found


def test_it_stands_before_the_gateways_and_reaches_no_engine(services: dict[str, dict[str, Any]]) -> None:
    balancer = services["balancer"]
    assert balancer["networks"] == ["front"]
    assert balancer["depends_on"] == {"gateway": {"condition": "service_healthy"}}
    assert all(port.startswith("${TWINSERVE_PUBLISH_ADDRESS:-127.0.0.1}:") for port in balancer["ports"])
    assert balancer["volumes"] == ["./balancer:/etc/twinserve:ro"]


def test_it_is_bounded_and_unprivileged(services: dict[str, dict[str, Any]]) -> None:
    gateway = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["gateway"]
    balancer = services["balancer"]
    for name in ("user", "read_only", "cap_drop", "security_opt", "logging", "init", "restart"):
        assert balancer[name] == gateway[name], name
    assert {"mem_limit", "pids_limit"} <= balancer.keys()
    assert re.fullmatch(r"\$\{TWINSERVE_BALANCER_IMAGE:-haproxy:\d+\.\d+\.\d+\}", balancer["image"])


def test_gateways_give_notice_for_longer_than_it_takes_to_notice(services: dict[str, dict[str, Any]]) -> None:
    """Half of the notice goes by until gRPC's connections are renewed (and a tenth more: gRPC spreads them)."""
    variable = services["gateway"]["environment"]["TWINSERVE_STOP_NOTICE_S"]
    notice_s = float(variable.removeprefix("${TWINSERVE_STOP_NOTICE_S:-").removesuffix("}"))
    times_ms = {name: int(value) for name, value in re.findall(r"(inter|fastinter) (\d+)ms", CONFIG)}
    fall = int(re.search(r" fall (\d+)", CONFIG)[1])  # type: ignore[index]
    noticed_s = (times_ms["inter"] + (fall - 1) * times_ms["fastinter"]) / 1000
    assert noticed_s + 1.1 * notice_s / 2 < notice_s - 1


def test_the_watchdog_brings_gateways_back_too(services: dict[str, dict[str, Any]]) -> None:
    assert services["gateway"]["labels"] == {WATCH_LABEL: "true"}


def test_it_is_more_patient_than_any_deadline() -> None:
    for side in ("client", "server"):
        seconds = int(re.search(rf"timeout {side} (\d+)s", CONFIG)[1])  # type: ignore[index]
        assert seconds > Settings.model_fields["longest_timeout_s"].default


def test_there_is_a_place_for_every_gateway_on_both_ports() -> None:
    assert re.findall(r"server-template gateway (\S+) (\S+) check(.*)", CONFIG) == [
        ("1-16", "gateway:8000", ""),
        ("1-16", "gateway:8001", " port 8000"),
    ]


def test_the_script_says_what_it_lacks(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\n")
    docker.chmod(0o755)
    done = subprocess.run(
        [str(ROOT / "balancer" / "rolling.sh"), "gateway"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "COMPOSE_PROJECT_NAME": "none"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "rolling: project none has no running container of gateway\n"
