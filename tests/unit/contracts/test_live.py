"""The two small files behind every swap: changed one at a time, remembered in order."""

from pathlib import Path

import pytest

from contracts.layout import ModelPaths
from contracts.live import (
    KEPT_ROLLOUTS,
    Live,
    Rollout,
    change_live,
    read_live,
    read_rollouts,
    record_rollout,
    write_live,
)


@pytest.fixture
def paths(tmp_path: Path) -> ModelPaths:
    paths = ModelPaths(tmp_path, "mnist")
    paths.root.mkdir()
    write_live(paths, Live(live=1))
    return paths


def rollout(number: int, **more: str) -> Rollout:
    fields = {
        "id": f"r{number}",
        "kind": "promote",
        "version": 2,
        "from_version": 1,
        "owner": "here",
        "started_at": 1.0,
    }
    return Rollout(**{**fields, **more})  # type: ignore[arg-type]


def test_a_change_that_fails_leaves_the_file_alone(paths: ModelPaths) -> None:
    def fail(live: Live) -> Live:
        raise RuntimeError(f"version {live.live} stays")

    with pytest.raises(RuntimeError, match="version 1 stays"):
        change_live(paths, fail)
    assert read_live(paths) == Live(live=1)
    assert change_live(paths, lambda live: Live(live=live.live + 1, previous=live.live)) == read_live(paths)


def test_the_last_rollouts_are_remembered_in_the_order_they_began(paths: ModelPaths) -> None:
    assert read_rollouts(paths) == ()
    for number in range(KEPT_ROLLOUTS + 3):
        record_rollout(paths, rollout(number))
    record_rollout(paths, rollout(KEPT_ROLLOUTS, reason="renewed"))
    kept = read_rollouts(paths)
    assert [known.id for known in kept] == [f"r{number}" for number in range(3, KEPT_ROLLOUTS + 3)]
    assert [known.reason for known in kept if known.reason] == ["renewed"]
