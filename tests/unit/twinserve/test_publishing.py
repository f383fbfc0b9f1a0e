"""Publishing with stand-in exporters: small processes that answer like the reference, or fail in their own way."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from contracts.layout import Live, ModelPaths, read_live, write_live
from contracts.manifest import Manifest, Weights, encode_document, read_document
from tests.platform_process import wait_until
from twinserve import publishing
from twinserve.cli import app
from twinserve.publishing import PublishError, publish_versions, publish_weights

SHIPPED = Path(publishing.__file__).resolve().parents[1] / "workers" / "weights" / "mnist"

STAND_IN = """
import argparse, pathlib, sys
import numpy as np
from twinserve.reference import load_weights, logits

parser = argparse.ArgumentParser()
for option in ("model-json", "weights", "version", "golden", "golden-outputs", "out"):
    parser.add_argument("--" + option, type=pathlib.Path, required=True)
given = parser.parse_args()
answers = logits(load_weights(given.weights), np.load(given.golden)["images"])
{fault}
(given.out / "{name}").write_text("artifact")
with given.golden_outputs.open("wb") as file:
    np.savez(file, logits=answers)
"""
FAULTS = {
    "sound": "",
    "crashing": "sys.stderr.write('the reason\\n'); sys.exit(3)",
    "differing": "answers[5, 0] += 0.5",
    "stuck": "given.out.with_name('started').touch(); sys.stdin = open(given.out.with_name('gate')); sys.stdin.read()",
    "mumbling": "np.savez(given.golden_outputs.open('wb'), other=answers); sys.exit(0)",
}


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "modules"
    folder.mkdir()
    for name, fault in FAULTS.items():
        (folder / f"{name}.py").write_text(STAND_IN.format(fault=fault, name=name))
    root = Path(publishing.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{root}")
    monkeypatch.setattr(publishing, "EXPORTERS", {"torchserve": "sound", "tfserving": "sound"})


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    shutil.copytree(SHIPPED, folder)
    return folder


@pytest.fixture
def own_weights(tmp_path: Path) -> Path:
    """Weights of somebody's own, which lie apart from the shipped ones."""
    for suffix in (".safetensors", ".json"):
        shutil.copy(SHIPPED / f"1{suffix}", tmp_path / f"own{suffix}")
    return tmp_path / "own.safetensors"


@pytest.fixture
def paths(tmp_path: Path) -> ModelPaths:
    return ModelPaths(tmp_path / "repository", "mnist")


pytestmark = pytest.mark.usefixtures("stand_ins")


def names_in(paths: ModelPaths) -> set[str]:
    """Everything beside the lock file."""
    return {entry.name for entry in paths.root.iterdir()} - {".publishing.lock"}


def test_publishes_whole_versions_and_the_newest_goes_live(paths: ModelPaths, model_dir: Path) -> None:
    said: list[str] = []
    assert publish_versions(paths.repository, model_dir, [1, 2], said.append) == [1, 2]
    assert names_in(paths) == {"1", "2", "live.json"}
    assert read_live(paths).live == 2
    manifest = read_document(paths.version(2).manifest, Manifest)
    assert (manifest.model, manifest.version) == ("mnist", 2)
    assert manifest.weights == read_document(model_dir / "2.json", Weights)
    assert manifest.parity.max_abs_diff.keys() == {"torchserve", "tfserving"}
    with np.load(paths.version(1).golden) as golden:
        assert (golden["images"].shape, golden["logits"].shape) == ((64, 28, 28), (64, 10))
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
        ("differing", r"mnist 1: tfserving differs from the reference by up to 0\.5.* first on image 5"),
        ("mumbling", r"artifact for tfserving answers \['other'\]"),
    ],
)
def test_a_failure_leaves_nothing(
    paths: ModelPaths, model_dir: Path, monkeypatch: pytest.MonkeyPatch, exporter: str, message: str
) -> None:
    monkeypatch.setattr(publishing, "EXPORTERS", {"torchserve": "sound", "tfserving": exporter})
    with pytest.raises(PublishError, match=message):
        publish_versions(paths.repository, model_dir, [1], lambda _: None)
    assert names_in(paths) == set()


def test_an_exporter_that_hangs_is_given_up(
    paths: ModelPaths, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "EXPORT_TIMEOUT_S", 0.01)
    with pytest.raises(PublishError, match=r"did not finish within 0\.01 s"):
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


def test_own_weights_become_the_version_after_the_newest(paths: ModelPaths, model_dir: Path, own_weights: Path) -> None:
    publish_versions(paths.repository, model_dir, [1, 2], lambda _: None)
    write_live(paths, Live(live=1))
    said: list[str] = []
    manifest = publish_weights(paths.repository, model_dir, own_weights, None, said.append)
    assert manifest == read_document(paths.version(3).manifest, Manifest)
    assert manifest.weights == read_document(own_weights.with_suffix(".json"), Weights)
    assert said[-1].startswith("mnist 3: published")
    assert read_live(paths).live == 1
    assert publish_weights(paths.repository, model_dir, own_weights, 9, said.append).version == 9
    assert publish_weights(paths.repository, model_dir, own_weights, None, said.append).version == 10


def test_the_numbers_of_shipped_versions_are_left_to_them(
    paths: ModelPaths, model_dir: Path, own_weights: Path
) -> None:
    assert publish_weights(paths.repository, model_dir, own_weights, None, lambda _: None).version == 3
    assert read_live(paths).live == 3


def test_a_published_number_is_not_given_again(paths: ModelPaths, model_dir: Path, own_weights: Path) -> None:
    publish_versions(paths.repository, model_dir, [1, 2], lambda _: None)
    before = paths.version(2).manifest.stat()
    with pytest.raises(PublishError, match=r"mnist 2 is published already.*choose another number \(next: 3\)"):
        publish_weights(paths.repository, model_dir, own_weights, 2, lambda _: None)
    assert paths.version(2).manifest.stat() == before


def test_own_weights_need_their_record(paths: ModelPaths, model_dir: Path, own_weights: Path) -> None:
    own_weights.with_suffix(".json").unlink()
    with pytest.raises(PublishError, match=r"own\.json is missing: .* the record that training wrote"):
        publish_weights(paths.repository, model_dir, own_weights, 3, lambda _: None)
    assert names_in(paths) == set()


def test_the_command_publishes_and_prints_the_manifest(paths: ModelPaths, own_weights: Path) -> None:
    options = ["--repository", str(paths.repository), "--json"]
    done = CliRunner().invoke(app, ["publish", str(own_weights), *options])
    assert done.exit_code == 0
    assert done.stdout.encode() == paths.version(3).manifest.read_bytes()
    assert "mnist 3: published" in done.stderr
    refused = CliRunner().invoke(app, ["publish", str(own_weights), "--version", "3", *options])
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "twinserve: mnist 3 is published already" in refused.stderr


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


def test_a_killed_publisher_leaves_nothing_that_counts(
    paths: ModelPaths, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.root.mkdir(parents=True)
    gate, started = paths.root / "gate", paths.root / "started"
    os.mkfifo(gate)
    code = (
        "import sys, pathlib; from twinserve import publishing as p; p.EXPORTERS = {'tfserving': 'stuck'};"
        "p.publish_versions(*map(pathlib.Path, sys.argv[1:]), [1], print)"
    )
    with subprocess.Popen([sys.executable, "-c", code, paths.repository, model_dir]) as publisher:
        wait_until(started.exists, 30, "an exporter has started")
        publisher.kill()
    assert paths.published() == []

    waits = threading.Event()
    following = threading.Thread(
        target=publish_versions,
        args=(paths.repository, model_dir, [1], lambda line: waits.set() if "waiting" in line else None),
    )
    following.start()
    assert waits.wait(timeout=30), "the dead publisher's exporter still writes"
    gate.write_text("")  # lets the orphan end
    following.join(timeout=60)
    assert names_in(paths) == {"1", "live.json", "gate", "started"}


def test_the_publisher_imports_no_framework() -> None:
    code = "import sys, twinserve.publishing; sys.exit(bool({'torch', 'tensorflow'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
