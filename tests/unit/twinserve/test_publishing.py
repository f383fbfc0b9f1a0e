"""Publishing the shipped model's kind, with stand-in exporters: whole versions, in turns, or nothing at all."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from contracts.golden import read_golden
from contracts.integrity import find_damage
from contracts.layout import ModelPaths
from contracts.live import Live, read_live, write_live
from contracts.manifest import Manifest, Weights, encode_document, read_document
from tests.unit.twinserve.stand_ins import Publish, names_in, use
from twinserve.publishing import PublishError, publish_versions

pytestmark = pytest.mark.usefixtures("stand_ins")


def test_publishes_whole_versions_and_the_newest_goes_live(paths: ModelPaths, model_dir: Path) -> None:
    said: list[str] = []
    assert publish_versions(paths.repository, model_dir, [1, 2], said.append) == [1, 2]
    assert names_in(paths) == {"1", "2", "live.json"}
    assert read_live(paths) == Live(live=2, previous=1, kept=(1,))
    manifest = read_document(paths.version(2).manifest, Manifest)
    assert (manifest.model, manifest.version) == ("mnist", 2)
    assert manifest.weights == read_document(model_dir / "2.json", Weights)
    assert manifest.parity.reference == "weights"
    assert manifest.parity.golden.max_abs_diff == {"torchserve": 0, "tfserving": 0}
    assert (manifest.parity.test_set, manifest.accuracy) == (None, 0.9928)
    assert manifest.made_from == {"torchserve": "weights", "tfserving": "weights"}
    golden = read_golden(paths.version(1).golden)
    assert (golden.inputs["images"].shape, golden.outputs["logits"].shape) == ((64, 28, 28), (64, 10))
    assert [find_damage(paths.version(version)) for version in (1, 2)] == ["", ""]
    assert any(line.startswith("mnist 2: published") for line in said)


def test_what_is_published_stays_as_it_is(paths: ModelPaths, model_dir: Path) -> None:
    publish_versions(paths.repository, model_dir, [1], lambda _: None)
    before = paths.version(1).manifest.stat()
    write_live(paths, Live(live=1, routing={"tfserving": 1.0}))
    (paths.root / ".staging-2-dead").mkdir()
    assert publish_versions(paths.repository, model_dir, [2, 1, 2], lambda _: None) == [2]
    assert publish_versions(paths.repository, model_dir, [1, 2], lambda _: None) == []
    assert paths.version(1).manifest.stat() == before
    assert read_live(paths) == Live(live=1, routing={"tfserving": 1.0})
    assert names_in(paths) == {"1", "2", "live.json"}


@pytest.mark.parametrize(
    ("exporter", "message"),
    [
        ("crashing", r"export for tfserving ended with 3:\nthe reason"),
        ("differing", r"mnist 1: tfserving differs from the reference in logits by up to 0\.5.* first on row 5"),
        ("mumbling", r"outputs of tfserving are \['other'\], expected \['logits'\]"),
    ],
)
def test_a_failure_leaves_nothing(
    paths: ModelPaths, model_dir: Path, monkeypatch: pytest.MonkeyPatch, exporter: str, message: str
) -> None:
    use(monkeypatch, "sound", exporter)
    with pytest.raises(PublishError, match=message):
        publish_versions(paths.repository, model_dir, [1], lambda _: None)
    assert names_in(paths) == set()


def test_weights_that_changed_are_refused(paths: ModelPaths, model_dir: Path) -> None:
    shutil.copy(model_dir / "2.safetensors", model_dir / "1.safetensors")
    with pytest.raises(PublishError, match=r"1\.safetensors has sha256 .*, its record says"):
        publish_versions(paths.repository, model_dir, [1], lambda _: None)
    assert names_in(paths) == set()


def test_weights_of_another_model_are_refused(paths: ModelPaths, model_dir: Path) -> None:
    (model_dir / "1.safetensors").write_bytes(b"nonsense")
    record = read_document(model_dir / "1.json", Weights)
    sha256 = hashlib.sha256(b"nonsense").hexdigest()
    (model_dir / "1.json").write_bytes(encode_document(Weights(sha256=sha256, training=record.training)))
    with pytest.raises(PublishError, match=r"1\.safetensors does not hold this model's weights"):
        publish_versions(paths.repository, model_dir, [1], lambda _: None)


def test_missing_weights_are_named(paths: ModelPaths, model_dir: Path) -> None:
    with pytest.raises(PublishError, match=r"7\.json"):
        publish_versions(paths.repository, model_dir, [7], lambda _: None)


@pytest.mark.long
def test_own_weights_become_the_version_after_the_newest(
    paths: ModelPaths, model_dir: Path, own_weights: Path, publish: Publish
) -> None:
    publish_versions(paths.repository, model_dir, [1, 2], lambda _: None)
    write_live(paths, Live(live=1))
    said: list[str] = []
    manifest = publish(own_weights, progress=said.append)
    assert manifest == read_document(paths.version(3).manifest, Manifest)
    assert manifest.weights == read_document(own_weights.with_suffix(".json"), Weights)
    assert said[-1].startswith("mnist 3: published")
    assert {"mnist 3: torchserve: half of it is done", "mnist 3: tfserving: half of it is done"} <= set(said)
    assert read_live(paths).live == 1
    assert publish(own_weights, 9).version == 9
    assert publish(own_weights).version == 10


def test_the_numbers_of_shipped_versions_are_left_to_them(
    paths: ModelPaths, own_weights: Path, publish: Publish
) -> None:
    assert publish(own_weights).version == 3
    assert read_live(paths) == Live(live=3)


def test_a_published_number_is_not_given_again(paths: ModelPaths, own_weights: Path, publish: Publish) -> None:
    publish(own_weights, 2)
    before = paths.version(2).manifest.stat()
    with pytest.raises(PublishError, match=r"mnist 2 is published already.*choose another number \(next: 3\)"):
        publish(own_weights, 2)
    assert paths.version(2).manifest.stat() == before


def test_own_weights_need_their_record(paths: ModelPaths, own_weights: Path, publish: Publish) -> None:
    own_weights.with_suffix(".json").unlink()
    with pytest.raises(PublishError, match=r"own\.json is missing: .* the record that training wrote"):
        publish(own_weights)
    assert names_in(paths) == set()


def test_publishers_of_one_model_take_turns(paths: ModelPaths, model_dir: Path) -> None:
    paths.root.mkdir(parents=True)
    (paths.root / ".staging-1-alive").mkdir()
    waits = threading.Event()

    def hear(line: str) -> None:
        if "waiting for another publisher" in line:
            waits.set()

    publisher = threading.Thread(target=publish_versions, args=(paths.repository, model_dir, [1], hear))
    with (paths.root / ".publishing.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        publisher.start()
        assert waits.wait(timeout=30)
        assert (paths.root / ".staging-1-alive").is_dir()
    publisher.join(timeout=60)
    assert names_in(paths) == {"1", "live.json"}


def test_the_publisher_imports_no_framework() -> None:
    code = "import sys, twinserve.publishing; sys.exit(bool({'torch', 'tensorflow'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
