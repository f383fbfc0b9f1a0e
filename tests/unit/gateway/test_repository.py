"""The shared directory as the gateway reads it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from contracts.atomic import publish_directory
from contracts.layout import ModelPaths
from contracts.live import Live, write_live
from gateway.repository import DirectoryRepository

MANIFEST: dict[str, Any] = {
    "model": "adder",
    "version": 1,
    "signature": {
        "inputs": [{"name": "a", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "sum", "datatype": "FP32", "shape": [-1, 2]}],
    },
    "image": None,
    "weights": {
        "sha256": "0" * 64,
        "training": {
            "framework": "torch",
            "epochs": 1,
            "seed": 1,
            "learning_rate": 0.1,
            "batch_size": 32,
            "test_accuracy": 0.5,
        },
    },
    "digests": {},
    "made_from": {},
    "operators": [],
    "parity": {
        "reference": "weights",
        "thresholds": {},
        "golden": {"rows": 1, "max_abs_diff": {"torchserve": 0.0}, "max_rel_diff": {"torchserve": 0.0}},
    },
}


def publish(root: Path, version: int, manifest: str | None = None) -> ModelPaths:
    paths = ModelPaths(root, "adder")
    staged = paths.root / f".staging-{version}"
    staged.mkdir(parents=True)
    (staged / "manifest.json").write_text(manifest or json.dumps(MANIFEST | {"version": version}))
    publish_directory(staged, paths.version(version).root)
    return paths


def test_an_empty_or_absent_repository_has_no_models(tmp_path: Path) -> None:
    assert DirectoryRepository(tmp_path).scan() == {}
    assert DirectoryRepository(tmp_path / "absent").scan() == {}


def test_versions_are_numbers_and_order_like_numbers(tmp_path: Path) -> None:
    for version in (10, 2, 1):
        paths = publish(tmp_path, version)
    for stray in ("007", "-1", "latest", ".staging-4", "1_0"):
        (paths.root / stray).mkdir()
    (paths.root / "3").write_text("a file is no version")
    assert paths.published() == [1, 2, 10]


def test_a_model_is_servable_once_it_has_a_live_version(tmp_path: Path) -> None:
    paths = publish(tmp_path, 1)
    repository = DirectoryRepository(tmp_path)
    assert repository.scan() == {}
    write_live(paths, Live(live=1, routing={"torchserve": 1.0}))
    model = repository.scan()["adder"]
    assert (model.live, dict(model.weights), set(model.versions)) == (1, {"torchserve": 1.0}, {1})
    assert model.versions[1].signature.inputs[0].shape == (-1, 2)
    publish(tmp_path, 2)
    write_live(paths, Live(live=2))
    assert repository.scan()["adder"].live == 2


@pytest.mark.parametrize(
    ("live", "said"),
    [
        ('{"live": 9}', "names version 9, published are [1]"),
        ('{"live": 0}', "Expected `int` >= 1"),
        ('{"live": 1, "routing": {}}', "routing weights"),
        ('{"live": 1, "routing": {"torchserve": -1}}', "routing weights"),
        ('{"live": "1"}', "Expected `int`"),
        ("{", "live.json"),
    ],
)
def test_a_bad_live_file_takes_the_model_out_and_says_why_once(
    tmp_path: Path, live: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    paths = publish(tmp_path, 1)
    paths.live.write_text(live)
    repository = DirectoryRepository(tmp_path)
    assert repository.scan() == repository.scan() == {}
    assert [said in record.getMessage() for record in caplog.records] == [True]


def test_a_file_that_becomes_unreadable_does_not_unload_what_serves(tmp_path: Path) -> None:
    paths = publish(tmp_path, 1)
    write_live(paths, Live(live=1))
    repository = DirectoryRepository(tmp_path)
    good = repository.scan()
    for spoiled in ("{", '{"live": 9}'):
        paths.live.write_text(spoiled)
        assert repository.scan() == good
    publish(tmp_path, 2)
    write_live(paths, Live(live=2))
    assert repository.scan()["adder"].live == 2
    shutil.rmtree(paths.root)
    assert repository.scan() == {}


def test_a_broken_version_does_not_take_the_others_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = publish(tmp_path, 1)
    publish(tmp_path, 2, json.dumps(MANIFEST).replace("FP32", "FP31"))
    write_live(paths, Live(live=1))
    assert set(DirectoryRepository(tmp_path).scan()["adder"].versions) == {1}
    assert "datatype 'FP31' of 'a' is none of" in caplog.text


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ({"labels": ["a"]}, "needs output 'sum' (-1, 1)"),
        ({"width": 3}, "needs the one input 'a' (-1, 1, 3)"),
        ({"input": "b"}, "needs the one input 'b'"),
        ({"output": "b"}, "needs output 'b'"),
    ],
)
def test_an_image_block_must_fit_the_signature(
    tmp_path: Path, image: dict[str, Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = {"input": "a", "output": "sum", "width": 2, "height": 1, "mode": "L", "polarity": "light-on-dark"}
    signature = MANIFEST["signature"] | {"inputs": [{"name": "a", "datatype": "FP32", "shape": [-1, 1, 2]}]}
    document = MANIFEST | {"signature": signature, "image": good | {"labels": ["a", "b"]}}
    paths = publish(tmp_path, 1, json.dumps(document))
    publish(tmp_path, 2, json.dumps(document | {"version": 2, "image": document["image"] | image}))
    write_live(paths, Live(live=1))
    assert set(DirectoryRepository(tmp_path).scan()["adder"].versions) == {1}
    assert said in caplog.text


def test_what_is_published_is_never_replaced(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    staged = tmp_path / "adder" / ".staging-again"
    staged.mkdir()
    with pytest.raises(FileExistsError):
        publish_directory(staged, tmp_path / "adder" / "1")
    assert staged.exists()


async def test_a_change_removes_what_a_killed_process_had_half_written(tmp_path: Path) -> None:
    paths = publish(tmp_path, 1)
    write_live(paths, Live(live=1))
    for name in (".live.json.0badcafe", ".rollouts.json.0badcafe", ".staging-2-0badcafe"):
        (paths.root / name).write_text("{")
    repository = DirectoryRepository(tmp_path)
    repository.scan()
    await repository.change("adder", lambda now: now)
    left = {path.name for path in paths.root.iterdir()}
    assert left == {"1", "live.json", ".change.lock", ".staging-2-0badcafe"}  # publishing's own is publishing's to end


def test_every_change_is_seen_though_only_what_changed_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.repository._TICK_NS", 0)
    paths = publish(tmp_path, 1)
    repository = DirectoryRepository(tmp_path)
    assert not repository.scan()
    write_live(paths, Live(live=1))
    for version in range(2, 12):
        known = repository.scan()["adder"]
        assert repository.scan()["adder"] is known, "nothing has changed, so nothing is read"
        publish(tmp_path, version)
        assert sorted(repository.scan()["adder"].versions) == list(range(1, version + 1))
        write_live(paths, Live(live=version))
        assert repository.scan()["adder"].live == version
    other = tmp_path / "other" / "1"
    other.mkdir(parents=True)
    (other / "manifest.json").write_bytes((paths.version(1).manifest).read_bytes())
    (tmp_path / "other" / "live.json").write_text('{"live": 1}')
    assert set(repository.scan()) == {"adder", "other"}
    paths.live.write_text("no JSON")
    assert repository.scan()["adder"].live == 11
    write_live(paths, Live(live=3))
    assert repository.scan()["adder"].live == 3
