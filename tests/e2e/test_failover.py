"""kill -9 of an engine under load: whoever did not insist on it is answered by the other."""

import asyncio
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.platform_process import Platform, is_alive, running_platform, wait_until
from tests.traffic import Tally, send_until
from workers.mnist import Split

pytestmark = pytest.mark.engines

OTHER = {"torchserve": "tfserving", "tfserving": "torchserve"}


@pytest.mark.parametrize("killed", ["torchserve", "tfserving"])
def test_no_unforced_request_fails(tmp_path: Path, repository: Path, mnist_test: Split, killed: str) -> None:
    with running_platform(tmp_path, repository) as platform:
        tally = kill_under_load(platform, mnist_test, killed)
        print(f"{killed} killed under load: {dict(tally.statuses)}, answered by {dict(tally.engines)}")
        assert set(tally.statuses) == {200}, tally.problems[:3]
        assert tally.engines[killed] > 0, "it had its share before"

        wait_until(lambda: any(f"{killed} died with exit code -9" in line for line in platform.lines), 10, "the report")
        text = requests.get(f"{platform.url}/metrics", timeout=10).text
        counts = [
            platform.metric(text, f"twinserve_ledger_{kind}_total") for kind in ("accepted", "answered", "failed")
        ]
        assert counts == [tally.total, tally.total, 0]
        assert requests.get(f"{platform.url}/v2/health/ready", timeout=10).status_code == 200

        wait_until(lambda: insist(platform, killed) == 200, 60, f"{killed} is back with the live version")
        [process] = [p for p in processes(platform) if p["name"] == killed]
        assert process["restarts"] == 1
        assert process["pid"] == platform.pid(killed)
        assert process["last_cause"] == "somebody killed it, or the kernel did because memory ran out"


def insist(platform: Platform, engine: str) -> int:
    body = {"inputs": [{"name": "images", "datatype": "FP32", "shape": [1, 28, 28], "data": [0] * 784}]}
    url = f"{platform.url}/v2/models/mnist/infer"
    answer = requests.post(url, json=body, headers={"X-Engine": engine}, timeout=30)
    if answer.status_code != 200:
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.headers["X-Engine"] == engine
    return answer.status_code


def processes(platform: Platform) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(platform.run("status", "--json").stdout)["processes"]
    return found


def kill_under_load(platform: Platform, mnist_test: Split, killed: str) -> Tally:
    """Kill the engine once it has answered, and go on until the other one alone has answered long enough."""
    pid = platform.pid(killed)
    counts_at_kill: list[int] = []
    lock = threading.Lock()

    def is_done(tally: Tally) -> bool:
        with lock:
            if not counts_at_kill and min(tally.engines[killed], tally.engines[OTHER[killed]]) > 300:
                counts_at_kill.append(tally.total)
                os.kill(pid, signal.SIGKILL)
        return bool(counts_at_kill) and tally.total > counts_at_kill[0] + 3000

    return asyncio.run(send_until(platform.url, mnist_test.images[:1], is_done, 16))


def test_a_hung_engine_is_left_out_and_replaced(tmp_path: Path, repository: Path, mnist_test: Split) -> None:
    """SIGSTOP: connections are accepted by the kernel, and nothing answers. Every request in it moves over."""
    with running_platform(tmp_path, repository) as platform:
        frozen = platform.pid("tfserving")
        stopped: list[int] = []

        def is_done(tally: Tally) -> bool:
            if not stopped and tally.total > 500:
                os.kill(frozen, signal.SIGSTOP)
                stopped.append(tally.total)
            return bool(stopped) and platform.pid("tfserving") != frozen

        tally = asyncio.run(send_until(platform.url, mnist_test.images[:1], is_done, 16))
        assert set(tally.statuses) == {200}, tally.problems[:3]
        assert any("tfserving is replaced: it hung" in line for line in platform.lines)
        wait_until(lambda: insist(platform, "tfserving") == 200, 60, "it is back")


@pytest.mark.parametrize("victim", ["supervisor", "gateway"])
def test_nothing_outlives_the_supervisor_and_the_gateway_comes_back(
    tmp_path: Path, repository: Path, victim: str
) -> None:
    with running_platform(tmp_path, repository, is_killed=victim == "supervisor") as platform:
        family = psutil.Process(platform.process.pid).children(recursive=True)
        assert len(family) >= 6, "three children, TorchServe's workers, the lifeline"
        if victim == "supervisor":
            platform.process.kill()
            wait_until(lambda: not [p for p in family if is_alive(p)], 30, "all are gone")
        else:
            before = platform.pid("gateway")
            os.kill(before, signal.SIGKILL)
            wait_until(lambda: platform.pid("gateway") != before, 30, "a new gateway")
            wait_until(lambda: is_ready(platform), 30, "it is ready")


def is_ready(platform: Platform) -> bool:
    try:
        return requests.get(f"{platform.url}/v2/health/ready", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False
