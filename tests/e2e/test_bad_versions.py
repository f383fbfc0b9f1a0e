"""Versions with a fault never go live, or are rolled back by themselves; clients of the live one notice nothing."""

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.golden import read_golden
from contracts.layout import ModelPaths
from tests import bad_versions
from tests.platform_process import Platform, running_platform, wait_until
from tests.traffic import Tally, send_until

pytestmark = [pytest.mark.engines, pytest.mark.only_on("up", "it spoils versions on the repository's own disk")]

SOURCE = 2
CANARY = ("--max-slowdown", "1e9", "--canary", "50,100", "--hold", "20s")


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Platform]:
    """A platform of its own, with version 2 live and a faulty copy of it under each number from 11."""
    folder = tmp_path_factory.mktemp("spoilt")
    own = folder / "repository"
    shutil.copytree(repository, own, symlinks=True, ignore=shutil.ignore_patterns(".*"))
    paths = ModelPaths(own, "mnist")
    bad_versions.tamper(paths, SOURCE, 11, "archive")
    bad_versions.tamper(paths, SOURCE, 12, "variables")
    bad_versions.crash_on_load(paths, SOURCE, 14, "dies")
    bad_versions.answers_wrongly(paths, SOURCE, 15)
    bad_versions.slow(paths, SOURCE, 16, seconds=1.0)
    bad_versions.spoils_later(paths, SOURCE, 17, "wrong")
    bad_versions.spoils_later(paths, SOURCE, 18, "raises")
    with running_platform(folder, own) as platform:
        yield platform


@contextmanager
def clients(platform: Platform, connections: int) -> Iterator[Tally]:
    """Unforced requests while the block runs; afterwards every one of them was answered."""
    golden = read_golden(ModelPaths(platform.repository, "mnist").version(2).golden)
    image: NDArray[np.float32] = golden.inputs["images"][:1]
    is_over = threading.Event()
    tally = Tally()
    thread = threading.Thread(
        target=lambda: asyncio.run(send_until(platform.url, image, lambda _: is_over.is_set(), connections, tally))
    )
    thread.start()
    try:
        yield tally
    finally:
        is_over.set()
        thread.join(60)
    assert set(tally.statuses) == {200}, tally.problems[:3]


def live(platform: Platform) -> tuple[int, bool]:
    """The live version, and whether one is on its way."""
    document = json.loads(ModelPaths(platform.repository, "mnist").live.read_text())
    return document["live"], document["candidate"] is not None


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("version", "options", "said"),
    [
        (11, (), "mnist.mar was changed"),
        (12, (), "variables/variables.data-00000-of-00001 was changed"),
        (14, (), "torchserve: its worker died 2 times while loading"),
        (15, (), "torchserve answers its golden inputs wrongly: logits differs by 1"),
        (16, (), "times as long with it as with version 2; allowed is 5 times"),
        (16, CANARY, "answers took longer than"),
        (17, CANARY, "the engines disagreed on"),
        (18, CANARY, "requests failed"),
    ],
    ids=["archive", "variables", "dies", "wrong", "slow", "slow canary", "wrong canary", "failing canary"],
)
def test_a_faulty_version_is_refused_and_clients_notice_nothing(
    spoilt: Platform, version: int, options: tuple[str, ...], said: str
) -> None:
    with clients(spoilt, connections=4) as tally:
        before = tally.total
        refused = spoilt.run("promote", "mnist", str(version), *options)
        assert refused.returncode == 1, refused.stdout
        assert said in refused.stderr
        if "--canary" in options:
            assert "rolled back at a share of 50%" in refused.stderr
        assert tally.total > before
    assert live(spoilt) == (SOURCE, False)
    state = json.loads(spoilt.run("status", "--json").stdout)
    (model,) = state["models"]
    shown = next(entry for entry in model["versions"] if entry["version"] == version)
    assert shown["engines"]["torchserve"]["state"] == "error"
    assert said in shown["engines"]["torchserve"]["reason"]
    for entry in model["versions"]:
        ledger = entry["ledger"]
        assert ledger["accepted"] == ledger["answered"] + ledger["failed"]
    wait_until(
        lambda: set(spoilt.up(spoilt.metrics()).values()) == {1}, 10, "the faulty version took no engine with it"
    )
