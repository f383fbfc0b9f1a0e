"""`twinserve up --engines-in docker`: the same gateway on the host, the engines in containers that are supervised."""

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.composed.composed_platform import TAG, docker
from tests.platform_process import Platform, running_platform, wait_until
from tests.traffic import Tally, insist, send_until, send_while
from workers.mnist import Split

pytestmark = [pytest.mark.engines, pytest.mark.only_on("compose", "it needs the images")]

ENGINES = ("torchserve", "tfserving")
ENVIRONMENT = {
    "TWINSERVE_ENGINES_IN": "docker",
    "TWINSERVE_TAG": TAG,
    "TWINSERVE_TFSERVING_IMAGE": f"twinserve-tfserving:{TAG}",
}
BACK_S = 60


def containers(platform: Platform) -> list[str]:
    """The containers that belong to a platform, whatever their state."""
    label = f"label=twinserve.home={platform.home}"
    return sorted(docker("ps", "-a", "--filter", label, "--format", "{{.Names}}").split())


@pytest.fixture(scope="module")
def supervised(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("engines-in-docker")
    own = folder / "repository"
    shutil.copytree(repository, own, symlinks=True, ignore=shutil.ignore_patterns(".*"))
    with running_platform(folder, own, ENVIRONMENT) as platform:
        yield platform
    assert containers(platform) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_it_answers_and_shows_where_it_runs(supervised: Platform, engine: str) -> None:
    answer = supervised.run("predict", "docs/digits/7.png", "--engine", engine, "--json")
    assert json.loads(answer.stdout)["predictions"][0]["label"] == "7", answer.stderr
    [process] = [p for p in json.loads(supervised.run("status", "--json").stdout)["processes"] if p["name"] == engine]
    assert process["container"] in containers(supervised)
    [known] = json.loads(docker("inspect", process["container"]))
    assert process["pid"] == known["State"]["Pid"]
    published = [port for ports in known["NetworkSettings"]["Ports"].values() for port in ports or ()]
    assert {port["HostIp"] for port in published} == {"127.0.0.1"}
    assert {m["RW"] for m in known["Mounts"] if m["Destination"] == "/models"} == {False}
    assert known["Config"]["User"] == f"{os.getuid()}:{os.getgid()}"
    assert (known["HostConfig"]["ReadonlyRootfs"], known["HostConfig"]["CapDrop"]) == (True, ["ALL"])
    log = (supervised.home / "logs" / f"{engine}.log").read_text()
    assert ("Model server started" if engine == "torchserve" else "Serving gRPC on") in log


@pytest.mark.parametrize("killed", ENGINES)
def test_what_docker_kill_ends_comes_back_by_itself(supervised: Platform, mnist_test: Split, killed: str) -> None:
    restarts, before = supervised.restarts(killed), supervised.ledger()
    name = supervised.child(killed)["container"]
    tally = send_while(supervised.url, mnist_test.images[:1], killed, lambda: docker("kill", name), 1500)
    assert set(tally.statuses) == {200}, tally.problems[:3]
    after = supervised.ledger()
    assert (after["answered"] - before["answered"], after["failed"]) == (tally.total, before["failed"])
    assert_used_again(supervised, mnist_test, killed, restarts)
    assert supervised.child(killed)["last_cause"] == "somebody killed it, or the kernel did because memory ran out"


def assert_used_again(platform: Platform, mnist_test: Split, engine: str, restarts: int) -> None:
    wait_until(lambda: platform.restarts(engine) == restarts + 1, BACK_S, f"{engine} is started again")
    wait_until(lambda: insist(platform.url, engine) == 200, BACK_S, f"{engine} is back with the live version")
    tally = asyncio.run(send_until(platform.url, mnist_test.images[:1], lambda seen: seen.engines[engine] > 100, 4))
    assert set(tally.statuses) == {200}, tally.problems[:3]


def test_a_frozen_one_is_replaced(supervised: Platform, mnist_test: Split) -> None:
    restarts = supervised.restarts("tfserving")
    docker("pause", supervised.child("tfserving")["container"])

    def is_done(_: Tally) -> bool:
        return supervised.restarts("tfserving") > restarts

    tally = asyncio.run(send_until(supervised.url, mnist_test.images[:1], is_done, 4))
    assert set(tally.statuses) == {200}, tally.problems[:3]
    assert_used_again(supervised, mnist_test, "tfserving", restarts)
    assert supervised.child("tfserving")["last_cause"].startswith("it hung")


def test_versions_change_places(supervised: Platform) -> None:
    for version in ("1", "2"):
        done = supervised.run("promote", "mnist", version, "--keep", "0")
        assert done.returncode == 0, done.stderr


@pytest.mark.timeout(200)
def test_nothing_outlives_a_killed_supervisor(tmp_path: Path, supervised: Platform) -> None:
    with running_platform(tmp_path, supervised.repository, ENVIRONMENT) as platform:
        assert len(containers(platform)) == 2
        platform.kill_up()
        wait_until(lambda: containers(platform) == [], 30, "the containers are gone")
    assert len(containers(supervised)) == 2, "those of others are left alone"
