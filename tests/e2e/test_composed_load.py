"""Locust in containers: a master and two workers, driven headless, leave what `twinserve loadtest` leaves outside."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.composed.composed_platform import ComposedPlatform

pytestmark = [pytest.mark.engines, pytest.mark.only_on("compose", "it is about containers")]

WORKERS = 2
RUN = ("loadtest", "steady", "--rate", "40", "--duration", "6", "--json")
RUN_TIMEOUT_S = 180


@pytest.fixture(scope="module")
def results(platform: ComposedPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of this machine's that the containers write into; two workers wait for a master."""
    folder = tmp_path_factory.mktemp("results")
    owner = f"{os.getuid()}:{os.getgid()}"
    platform.compose.settings |= {"TWINSERVE_LOAD_RESULTS": str(folder), "TWINSERVE_LOAD_USER": owner}
    up = ("up", "-d", "--no-deps", "--scale", f"locust-worker={WORKERS}", "locust-worker")
    try:
        done = platform.compose(*up)
        assert done.returncode == 0, done.stderr
        yield folder
    finally:
        platform.compose("rm", "-s", "-f", "-v", "locust-worker", "locust-master")


def test_a_headless_run_in_containers_leaves_the_same_files_as_one_outside(
    platform: ComposedPlatform, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_off = ("run", "--rm", "-T", "--no-deps", "--use-aliases", "locust-master", "twinserve", *RUN)
    inside = platform.compose(*one_off, "--workers", str(WORKERS), "--out", "/results/inside", timeout_s=RUN_TIMEOUT_S)
    assert inside.returncode == 0, inside.stdout + inside.stderr
    monkeypatch.setenv("TWINSERVE_REPOSITORY", str(platform.repository))
    outside = platform.run(*RUN, "--out", str(tmp_path))
    assert outside.returncode == 0, outside.stdout + outside.stderr

    here, there = read(tmp_path), read(results / "inside")
    assert there.keys() == here.keys()
    for name, shape in here.items():
        assert there[name] == shape, name
    for summary in (json.loads(inside.stdout), json.loads(outside.stdout)):
        assert summary["fates"] == {**dict.fromkeys(summary["fates"], 0), "right": summary["requests"]}
        assert summary["latency"]["count"] == summary["requests"] == summary["locust"]["requests"] > 100


def read(folder: Path) -> dict[str, Any]:
    """What is in each file of a run, without the figures."""
    return {path.name: shape_of_file(path) for path in folder.iterdir()}


def shape_of_file(path: Path) -> Any:
    if path.suffix == ".json":
        return shape(json.loads(path.read_text()))
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return next(csv.reader(file), None)
    if path.suffix == ".hgrm":
        return path.read_text().split("\n", 1)[0]
    return None


def shape(value: Any) -> Any:
    """The keys of a document, all the way down; of a list those of its first item. A histogram's are figures."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if not key.replace(".", "").isdigit()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return None
