"""What operators do to the composed platform: its commands from the host, engines stopped and frozen under load.

Crashes are in test_failover, swaps under load in test_hot_swap.
"""

import asyncio
import json
import time

import pytest
import requests

from tests.composed_platform import ComposedPlatform, docker
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
def test_docker_kill_loses_nothing_and_docker_start_brings_it_back(
    platform: ComposedPlatform, mnist_test: Split, killed: str
) -> None:
    """For Docker `docker kill` is an operator's stop, which no restart policy undoes."""
    restarts = platform.restarts(killed)
    container = platform.container(killed)
    tally = send_while(platform.url, mnist_test.images[:1], killed, lambda: docker("kill", container), 1500)
    print(f"docker kill of {killed}: {dict(tally.statuses)}, answered by {dict(tally.engines)}")
    assert set(tally.statuses) == {200}, tally.problems[:3]
    assert platform.inspect(killed)["State"]["Running"] is False
    assert platform.up(platform.metrics()) == {killed: 0, OTHER[killed]: 1}

    docker("start", container)
    assert_used_again(platform, mnist_test, killed)
    assert platform.restarts(killed) == restarts


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


def assert_used_again(platform: ComposedPlatform, mnist_test: Split, engine: str) -> None:
    """It answers whoever names it, and then has its share of unforced requests."""
    wait_until(lambda: insist(platform.url, engine) == 200, BACK_S, f"{engine} is back with the live version")
    tally = asyncio.run(send_until(platform.url, mnist_test.images[:1], lambda seen: seen.engines[engine] > 100, 4))
    assert set(tally.statuses) == {200}, tally.problems[:3]
