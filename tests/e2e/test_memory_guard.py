"""An engine that takes more memory than it may is replaced under load, and nobody notices."""

import asyncio
import json
import re
import shutil
from pathlib import Path

import pytest
import requests

from tests.platform_process import Platform, running_platform, wait_until
from tests.traffic import Tally, send_until
from workers.mnist import Split

pytestmark = [pytest.mark.engines, pytest.mark.only_on("up", "containers have memory limits instead of the guard")]

OTHER = {"torchserve": "tfserving", "tfserving": "torchserve"}
LIMIT_MB = 50
"""Less than either engine takes with one version."""


@pytest.mark.parametrize("grown", ["torchserve", "tfserving"])
def test_an_engine_over_its_limit_is_replaced(tmp_path: Path, repository: Path, mnist_test: Split, grown: str) -> None:
    environment = {variable(grown): str(LIMIT_MB), variable(OTHER[grown]): "0"}
    own = tmp_path / "repository"  # gateways on one repository follow one leader, and it knows its own engines only
    shutil.copytree(repository, own, symlinks=True, ignore=shutil.ignore_patterns(".torchserve", ".gateways"))
    with running_platform(tmp_path, own, environment) as platform:
        pids = {engine: platform.pid(engine) for engine in OTHER}
        tally = send_until_back(platform, mnist_test, grown)
        print(f"{grown} replaced under load: {dict(tally.statuses)}, answered by {dict(tally.engines)}")
        assert set(tally.statuses) == {200}, tally.problems[:3]
        text = requests.get(f"{platform.url}/metrics", timeout=10).text
        assert platform.metric(text, "twinserve_ledger_failed_total") == 0
        assert platform.pid(OTHER[grown]) == pids[OTHER[grown]]

        wait_until(lambda: all(memory_mb(platform)), 30, "both processes are measured")
        status = json.loads(platform.run("status", "--json").stdout)
        [process] = [process for process in status["processes"] if process["name"] == grown]
        assert process["restarts"] >= 1, "it is over its limit again, and may have been replaced once more"
        assert process["pid"] != pids[grown]
        assert re.fullmatch(rf"it took \d+ MB, more than its limit of {LIMIT_MB} MB", process["last_cause"])
        assert all(megabytes > LIMIT_MB for megabytes in memory_mb(platform))
        assert any(f"{grown} is stopped, to be started afresh: it took" in line for line in platform.lines)
    assert not (platform.home / "memory.json").exists()


def variable(engine: str) -> str:
    return f"TWINSERVE_{engine.upper()}_MEMORY_LIMIT_MB"


def send_until_back(platform: Platform, mnist_test: Split, engine: str) -> Tally:
    """Unforced requests until a new process of the engine has answered its share of them."""
    first = platform.pid(engine)
    answered_by_first: list[int] = []

    def is_done(tally: Tally) -> bool:
        if not answered_by_first and platform.pid(engine) != first:
            answered_by_first.append(tally.engines[engine])
        return bool(answered_by_first) and tally.engines[engine] > answered_by_first[0] + 300

    return asyncio.run(send_until(platform.url, mnist_test.images[:1], is_done, 4))


def memory_mb(platform: Platform) -> list[float]:
    """Of each engine, as `status` has it; 0 while it is not measured."""
    status = json.loads(platform.run("status", "--json").stdout)
    return [(engine["memory_bytes"] or 0) / 1e6 for engine in status["engines"]]
