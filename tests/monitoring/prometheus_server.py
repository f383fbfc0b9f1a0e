"""A real Prometheus for tests: what it is asked, and one started for a test, from PATH or from the test's own image."""

import math
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.composed.composed_platform import PROJECT, TAG
from tests.platform_process import wait_until
from tests.ports import free_port

IMAGE = f"twinserve-prometheus:{TAG}"
"""Debian's package in an image, which tests/composed/run.py builds."""

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
_COMMAND_TIMEOUT_S = 30


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its HTTP API."""
        answer = requests.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=10).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def has_data(self, expression: str) -> bool:
        """Whether a query has at least one result that is a number."""
        found = self.ask("query", query=expression)
        samples = [found["result"]] if found["resultType"] == "scalar" else [each["value"] for each in found["result"]]
        return any(not math.isnan(float(value)) for _, value in samples)

    def alerts(self) -> set[str]:
        """The names of the alerts that fire."""
        return {each["labels"]["alertname"] for each in self.ask("alerts")["alerts"] if each["state"] == "firing"}

    def targets(self) -> list[tuple[str, str]]:
        """Job and health (`up`, `down`, `unknown`) of everything that is scraped."""
        return [(each["labels"]["job"], each["health"]) for each in self.ask("targets")["activeTargets"]]

    def broken_rules(self) -> dict[str, str]:
        """What rules complain of, by name; a rule that was not evaluated yet is among them."""
        rules = [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]
        return {rule["name"]: rule.get("lastError") or rule["health"] for rule in rules if rule["health"] != "ok"}

    def is_ready(self) -> bool:
        with suppress(requests.ConnectionError):
            return requests.get(f"{self.url}/-/ready", timeout=5).status_code == 200
        return False


@contextmanager
def running_prometheus(folder: Path, configuration: Path) -> Iterator[Prometheus]:
    """Start one with a configuration in `folder`; the test is skipped, saying why, where there is none to start."""
    url = f"http://127.0.0.1:{free_port()}"
    flags = [f"--config.file={configuration}", f"--web.listen-address={url.removeprefix('http://')}"]
    if shutil.which("prometheus"):
        started = _process(folder, flags)
    elif shutil.which("docker") and _docker("image", "inspect", IMAGE).returncode == 0:
        started = _container(folder, flags)
    else:
        pytest.skip(f"no prometheus on PATH (Debian: apt install prometheus), and no image {IMAGE}")
    with started as log:
        prometheus = Prometheus(url)
        try:
            wait_until(prometheus.is_ready, START_TIMEOUT_S, "Prometheus is ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log.read_text()[-2000:]}") from None
        yield prometheus


@contextmanager
def _process(folder: Path, flags: list[str]) -> Iterator[Path]:
    log = folder / "prometheus.log"
    command = ["prometheus", f"--storage.tsdb.path={folder / 'data'}", *flags]
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            yield log
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def _container(folder: Path, flags: list[str]) -> Iterator[Path]:
    """In the host's network, since what it scrapes listens on loopback."""
    log, name = folder / "prometheus.log", f"{PROJECT}-prometheus-alone"
    rights = ["--user", f"{os.getuid()}:{os.getgid()}", "--cap-drop", "ALL", "--read-only", "--tmpfs", "/data"]
    command = ["docker", "run", "--rm", "--name", name, "--network", "host", *rights, "-v", f"{folder}:{folder}:ro"]
    _docker("rm", "-f", name)  # of a run that was killed
    with log.open("w") as out:
        run = [*command, IMAGE, "--storage.tsdb.path=/data", *flags]
        with subprocess.Popen(run, stdout=out, stderr=out) as process:
            try:
                yield log
            finally:
                _docker("rm", "-f", name)
                process.wait(STOP_TIMEOUT_S)


def _docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False
    )
