"""kill -9 of an engine under load: whoever did not insist on it is answered by the other."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.platform_process import Platform, running_platform, wait_until
from tests.served_platform import LEDGER, ServedPlatform
from tests.targets import TargetPlatform
from tests.traffic import Tally, insist, send_until, send_while
from workers.mnist import Split

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def killable(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, target: TargetPlatform
) -> Iterator[ServedPlatform]:
    """A platform whose processes may be killed, if each test leaves it whole: this file's own, or the composed one."""
    if target is TargetPlatform.COMPOSE:
        yield request.getfixturevalue("platform")
    else:
        folder = tmp_path_factory.mktemp("killable")
        with running_platform(folder, request.getfixturevalue("repository")) as platform:
            yield platform


@pytest.mark.parametrize("killed", ["torchserve", "tfserving"])
def test_no_unforced_request_fails(killable: ServedPlatform, mnist_test: Split, killed: str) -> None:
    before, restarts = killable.ledger(), killable.restarts(killed)
    tally = send_while(killable.url, mnist_test.images[:1], killed, lambda: killable.kill(killed))
    print(f"{killed} killed under load: {dict(tally.statuses)}, answered by {dict(tally.engines)}")
    assert set(tally.statuses) == {200}, tally.problems[:3]
    assert tally.engines[killed] > 0, "it had its share before"

    after = killable.ledger()
    counts = [after[kind] - before[kind] for kind in LEDGER]
    assert counts == [tally.total, tally.total, 0]
    assert requests.get(f"{killable.url}/v2/health/ready", timeout=10).status_code == 200

    wait_until(lambda: insist(killable.url, killed) == 200, 60, f"{killed} is back with the live version")
    assert killable.restarts(killed) == restarts + 1
    again = asyncio.run(send_until(killable.url, mnist_test.images[:1], lambda seen: seen.engines[killed] > 100, 4))
    assert set(again.statuses) == {200}, "it is used again"
    if isinstance(killable, Platform):
        assert any(f"{killed} died with exit code -9" in line for line in killable.lines)
        [process] = [p for p in processes(killable) if p["name"] == killed]
        assert process["restarts"] == restarts + 1
        assert process["pid"] == killable.pid(killed)
        assert process["last_cause"] == "somebody killed it, or the kernel did because memory ran out"


def processes(platform: Platform) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(platform.run("status", "--json").stdout)["processes"]
    return found


@pytest.mark.only_on("up", "Docker replaces no hung container")
def test_a_hung_engine_is_left_out_and_replaced(killable: ServedPlatform, mnist_test: Split) -> None:
    """SIGSTOP: connections are accepted by the kernel, and nothing answers. Every request in it moves over."""
    assert isinstance(killable, Platform)
    frozen = killable.pid("tfserving")
    stopped: list[int] = []

    def is_done(tally: Tally) -> bool:
        if not stopped and tally.total > 500:
            os.kill(frozen, signal.SIGSTOP)
            stopped.append(tally.total)
        return bool(stopped) and killable.pid("tfserving") != frozen

    tally = asyncio.run(send_until(killable.url, mnist_test.images[:1], is_done, 16))
    assert set(tally.statuses) == {200}, tally.problems[:3]
    wait_until(lambda: any("tfserving is replaced: it hung" in line for line in killable.lines), 5, "it is said")
    wait_until(lambda: insist(killable.url, "tfserving") == 200, 60, "it is back")


@pytest.mark.only_on("up", "it is about the supervisor")
def test_a_killed_gateway_comes_back(killable: ServedPlatform) -> None:
    assert isinstance(killable, Platform)
    before = killable.pid("gateway")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: killable.pid("gateway") != before, 30, "a new gateway")
    wait_until(lambda: is_ready(killable), 30, "it is ready")


@pytest.mark.only_on("up", "it is about the supervisor")
def test_nothing_outlives_the_supervisor(tmp_path: Path, repository: Path) -> None:
    with running_platform(tmp_path, repository) as platform:
        assert len(platform.kill_up()) >= 6, "three children, TorchServe's workers, the lifeline"


def is_ready(platform: ServedPlatform) -> bool:
    try:
        return requests.get(f"{platform.url}/v2/health/ready", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False
