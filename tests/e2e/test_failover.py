"""kill -9 of an engine under load: whoever did not insist on it is answered by the other."""

import asyncio
import os
import signal
import threading
from pathlib import Path

import pytest
import requests

from tests.platform_process import Platform, running_platform, wait_until
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

        text = requests.get(f"{platform.url}/metrics", timeout=10).text
        counts = [
            platform.metric(text, f"twinserve_ledger_{kind}_total") for kind in ("accepted", "answered", "failed")
        ]
        assert counts == [tally.total, tally.total, 0]
        assert platform.up(text) == {killed: 0, OTHER[killed]: 1}

        insisting = {"X-Engine": killed}
        body = {"inputs": [{"name": "images", "datatype": "FP32", "shape": [1, 28, 28], "data": [0] * 784}]}
        url = f"{platform.url}/v2/models/mnist/infer"
        refused = requests.post(url, json=body, headers=insisting, timeout=10)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert requests.post(url, json=body, timeout=10).headers["X-Engine"] == OTHER[killed]
        assert requests.get(f"{platform.url}/v2/health/ready", timeout=10).status_code == 200
        wait_until(lambda: any(f"{killed} died with exit code -9" in line for line in platform.lines), 10, "the report")


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
