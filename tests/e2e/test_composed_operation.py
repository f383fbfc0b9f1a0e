"""What operators do to the composed platform: its commands from the host, engines stopped and frozen under load.

Crashes are in test_failover, swaps under load in test_hot_swap.
"""

import asyncio
import json
import time

import pytest
import requests

from tests.composed.composed_platform import ComposedPlatform, docker
from tests.platform_process import wait_until
from tests.traffic import OTHER, insist, send_until, send_while
from workers.mnist import Split

pytestmark = [
    pytest.mark.engines,
    pytest.mark.only_on("compose", "containers are killed and frozen through Docker"),
]

ENGINES = ("torchserve", "tfserving")
BACK_S = 60
DEADLINE_S = 1.0


def test_commands_from_the_host(platform: ComposedPlatform) -> None:
    """By --url and the token alone."""
    for command in (("promote", "mnist", "1"), ("rollback", "mnist")):
        done = platform.run(*command)
        assert done.returncode == 0, done.stderr
    routed = platform.run("route", "mnist", "--weights", "torchserve=100,tfserving=0")
    assert routed.returncode == 0, routed.stderr
    answers = [platform.run("predict", "docs/digits/7.png", "--json").stdout for _ in range(3)]
    assert {json.loads(answer)["engine"] for answer in answers} == {"torchserve"}
    assert platform.run("route", "mnist", "--weights", "torchserve=50,tfserving=50").returncode == 0
    [model] = json.loads(platform.run("status", "--json").stdout)["models"]
    assert (model["live"], model["routing"]) == (2, {"torchserve": 50.0, "tfserving": 50.0})


@pytest.mark.parametrize("killed", ENGINES)
def test_docker_kill_loses_nothing_and_the_engine_comes_back_by_itself(
    platform: ComposedPlatform, mnist_test: Split, killed: str
) -> None:
    """For Docker `docker kill` is an operator's stop, which no restart policy undoes. The watchdog does."""
    container, restarts, started = platform.container(killed), platform.restarts(killed), started_at(platform, killed)
    tally = send_while(platform.url, mnist_test.images[:1], killed, lambda: docker("kill", container), 1500)
    print(f"docker kill of {killed}: {dict(tally.statuses)}, answered by {dict(tally.engines)}")
    assert set(tally.statuses) == {200}, tally.problems[:3]

    wait_until(lambda: started_at(platform, killed) > started, BACK_S, f"{killed} is started again")
    assert_used_again(platform, mnist_test, killed)
    assert platform.container(killed) == container
    assert platform.restarts(killed) == restarts, "it was not Docker's restart policy"
    assert f"{name_of(platform, killed)} ended with 137, and nobody had stopped it" in watchdog_log(platform)


@pytest.mark.parametrize("stopped", ENGINES)
def test_docker_stop_loses_nothing_and_the_engine_stays_down_until_it_is_started(
    platform: ComposedPlatform, mnist_test: Split, stopped: str
) -> None:
    container, started = platform.container(stopped), started_at(platform, stopped)
    left_alone = f"{name_of(platform, stopped)} was stopped: left alone"
    before = watchdog_log(platform).count(left_alone)
    try:
        tally = send_while(platform.url, mnist_test.images[:1], stopped, lambda: docker("stop", container), 1500)
        assert set(tally.statuses) == {200}, tally.problems[:3]
        wait_until(lambda: watchdog_log(platform).count(left_alone) > before, BACK_S, "the watchdog has decided")
        assert platform.inspect(stopped)["State"]["Running"] is False
        assert started_at(platform, stopped) == started
        wait_until(
            lambda: platform.up(platform.metrics()) == {stopped: 0, OTHER[stopped]: 1}, 10, f"{stopped} alone is down"
        )
    finally:
        docker("start", container)
    assert_used_again(platform, mnist_test, stopped)


def test_what_was_killed_while_the_watchdog_was_away_comes_back_with_it(
    platform: ComposedPlatform, mnist_test: Split
) -> None:
    """And the watchdog ends when it is asked to, not when Docker loses its patience."""
    killed, watchdog, started = "tfserving", platform.container("watchdog"), started_at(platform, "tfserving")
    docker("stop", watchdog)
    try:
        assert platform.inspect("watchdog")["State"]["ExitCode"] == 0
        docker("kill", platform.container(killed))
        assert platform.inspect(killed)["State"]["Running"] is False
    finally:
        docker("start", watchdog)
    wait_until(lambda: started_at(platform, killed) > started, BACK_S, f"{killed} is started again")
    assert_used_again(platform, mnist_test, killed)


@pytest.mark.parametrize("frozen", ENGINES)
def test_a_frozen_engine_is_left_out_until_it_thaws(platform: ComposedPlatform, mnist_test: Split, frozen: str) -> None:
    """Connections to it are accepted, and nothing answers."""
    container = platform.container(frozen)

    def freeze() -> None:
        docker("pause", container)
        wait_until(lambda: platform.up(platform.metrics())[frozen] == 0, 30, "the gateway takes it for lost")

    try:
        tally = send_while(platform.url, mnist_test.images[:1], frozen, freeze, 1500)
        print(f"docker pause of {frozen}: {dict(tally.statuses)}, answered by {dict(tally.engines)}")
        assert set(tally.statuses) == {200}, tally.problems[:3]
        assert insist(platform.url, frozen) == 503
    finally:
        docker("unpause", container)
    assert_used_again(platform, mnist_test, frozen)


@pytest.mark.parametrize("frozen", ENGINES)
def test_deadlines_hold_while_an_engine_freezes(platform: ComposedPlatform, mnist_test: Split, frozen: str) -> None:
    """Who insists on an engine that has just frozen gets 504 at the deadline, or 503 once it counts as lost."""
    container = platform.container(frozen)
    image = mnist_test.images[:1]
    tensor = {"name": "images", "datatype": "FP32", "shape": [1, 28, 28], "data": image.ravel().tolist()}
    body = {"inputs": [tensor], "parameters": {"timeout": int(DEADLINE_S * 1e6), "engine": frozen}}
    docker("pause", container)
    try:
        statuses, slowest_s = [], 0.0
        for _ in range(5):
            asked_at = time.monotonic()
            answer = requests.post(f"{platform.url}/v2/models/mnist/infer", json=body, timeout=30)
            slowest_s = max(slowest_s, time.monotonic() - asked_at)
            statuses.append(answer.status_code)
    finally:
        docker("unpause", container)
    print(f"{frozen} frozen, deadline {DEADLINE_S:g} s: {statuses}, slowest {slowest_s:.2f} s")
    assert set(statuses) <= {503, 504}
    assert 504 in statuses
    assert slowest_s < DEADLINE_S + 1
    assert_used_again(platform, mnist_test, frozen)


def started_at(platform: ComposedPlatform, service: str) -> str:
    """When it last was, as Docker writes it: later ones compare greater."""
    return str(platform.inspect(service)["State"]["StartedAt"])


def name_of(platform: ComposedPlatform, service: str) -> str:
    """Its container's."""
    return str(platform.inspect(service)["Name"]).removeprefix("/")


def watchdog_log(platform: ComposedPlatform) -> str:
    return docker("logs", platform.container("watchdog"))


def assert_used_again(platform: ComposedPlatform, mnist_test: Split, engine: str) -> None:
    """It answers whoever names it, and then has its share of unforced requests."""
    wait_until(lambda: insist(platform.url, engine) == 200, BACK_S, f"{engine} is back with the live version")
    tally = asyncio.run(send_until(platform.url, mnist_test.images[:1], lambda seen: seen.engines[engine] > 100, 4))
    assert set(tally.statuses) == {200}, tally.problems[:3]
