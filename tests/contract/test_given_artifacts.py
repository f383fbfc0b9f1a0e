"""Versions from finished artifacts: a second model in both frameworks, one for one engine alone, and spoilt ones."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from contracts.golden import Golden, read_golden, write_golden
from contracts.integrity import find_damage
from contracts.layout import ModelPaths, VersionPaths
from contracts.manifest import Manifest, read_document
from tests import bad_versions
from twinserve.places import SHIPPED_MODEL as SHIPPED
from workers.ranker import BIAS, TABLE

pytestmark = pytest.mark.engines

ROOT = Path(__file__).resolve().parents[2]
# Asks an archive for its golden outputs as the exporter does; prints the largest difference from those it must give.
ASK_ARCHIVE = """
import pathlib, sys, tempfile, time
from contracts.golden import read_golden
from workers.torch.export import load_archive
archive, golden = map(pathlib.Path, sys.argv[1:])
expected = read_golden(golden)
with tempfile.TemporaryDirectory() as folder:
    ask = load_archive(archive, pathlib.Path(folder))
    started = time.monotonic()
    answer = ask(expected.inputs)
    took_s = time.monotonic() - started
    print(max(abs(answer[name] - tensor).max() for name, tensor in expected.outputs.items()), took_s)
"""


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )


def publish(paths: ModelPaths, *options: object) -> "subprocess.CompletedProcess[str]":
    return run("-m", "twinserve", "publish", paths.model, "--repository", str(paths.repository), *map(str, options))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.pt, model.json and the SavedModel 1 of the ranker."""
    folder = tmp_path_factory.mktemp("samples")
    for command in (("workers.torch.samples", "--out"), ("workers.tf.samples", "--only", "ranker")):
        done = run("-m", *command, str(folder))
        assert done.returncode == 0, done.stderr
    return folder / "ranker"


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> ModelPaths:
    """A repository with both shipped versions; tests may add others."""
    own = tmp_path_factory.mktemp("given") / "repository"
    shutil.copytree(repository, own, symlinks=True, ignore=shutil.ignore_patterns(".*"))
    return ModelPaths(own, "mnist")


def test_a_second_model_is_published_from_both_frameworks(samples: Path, tmp_path: Path) -> None:
    paths = ModelPaths(tmp_path, "ranker")
    generator = np.random.default_rng(3)
    ids, scale = generator.integers(0, 16, (700, 4)), generator.normal(size=(700, 1)).astype(np.float32)
    scores = np.tanh(TABLE[ids].sum(1)) * scale + BIAS
    labels = np.where(np.arange(700) < 70, 3, scores.argmax(1))
    write_golden(tmp_path / "test.npz", Golden({"ids": ids, "scale": scale}, labels=labels))
    given = ("--from-torchscript", samples / "model.pt", "--from-saved-model", samples / "1")
    done = publish(paths, *given, "--describe", samples / "model.json", "--data", tmp_path / "test.npz")
    assert done.returncode == 0, done.stderr
    assert "torchserve: 700 of 700 test rows answered" in done.stdout
    manifest = read_document(paths.version(1).manifest, Manifest)
    assert manifest.parity.test_set is not None
    assert manifest.parity.test_set.accuracy == {"torchserve": 0.9, "tfserving": 0.9}
    assert {"ResourceGather", "Tanh", "ArgMax"} <= set(manifest.operators)
    golden = read_golden(paths.version(1).golden)
    expected = np.tanh(TABLE[golden.inputs["ids"]].sum(1)) * golden.inputs["scale"] + BIAS
    np.testing.assert_allclose(golden.outputs["scores"], expected, atol=1e-5)
    np.testing.assert_array_equal(golden.outputs["top"], expected.argmax(1))
    assert find_damage(paths.version(1)) == ""


def test_artifacts_must_be_of_the_model_described(samples: Path, mnist: ModelPaths, tmp_path: Path) -> None:
    paths = ModelPaths(tmp_path, "ranker")
    options = ("--from-torchscript", samples / "model.pt", "--describe", samples / "model.json")
    other = publish(paths, *options, "--from-saved-model", mnist.version(1).root)
    assert other.returncode == 1
    assert "the SavedModel's inputs are ['images'], the model's are ['ids', 'scale']" in other.stderr
    with zipfile.ZipFile(tmp_path / "junk.pt", "w") as archive:
        archive.writestr("junk/constants.pkl", b"junk")
    junk = publish(paths, *options, "--from-saved-model", samples / "1", "--from-torchscript", tmp_path / "junk.pt")
    assert junk.returncode == 1
    assert "ranker.mar cannot be loaded" in junk.stderr
    assert paths.published() == []


def test_a_wrong_export_for_one_engine_fails_its_certificate(mnist: ModelPaths) -> None:
    """The SavedModel is that of other weights: the certificate of the given weights must not be granted."""
    weights = ("--weights", SHIPPED / "2.safetensors", "--version", "20")
    wrong = publish(mnist, *weights, "--from-saved-model", mnist.version(1).root)
    assert wrong.returncode == 1
    assert "mnist 20: tfserving differs from the reference in logits by up to" in wrong.stderr
    assert not mnist.version(20).root.exists()
    right = publish(mnist, *weights, "--from-saved-model", mnist.version(2).root)
    assert right.returncode == 0, right.stderr
    manifest = read_document(mnist.version(20).manifest, Manifest)
    assert manifest.made_from == {"torchserve": "weights", "tfserving": "saved_model"}
    assert not (mnist.version(20).root / "assets.extra").exists()
    assert find_damage(mnist.version(20)) == ""


@pytest.mark.timeout(300)
def test_the_whole_test_set_is_compared_and_measured(mnist: ModelPaths, mnist_folder: Path) -> None:
    done = publish(mnist, "--weights", SHIPPED / "1.safetensors", "--version", "10", "--data", mnist_folder, "--json")
    assert done.returncode == 0, done.stderr
    assert "mnist 10: tfserving: 10000 of 10000 test rows answered" in done.stderr
    manifest = read_document(mnist.version(10).manifest, Manifest)
    test_set = manifest.parity.test_set
    assert manifest.weights is not None
    assert test_set is not None
    assert test_set.accuracy is not None
    assert test_set.rows == 10_000
    for engine in ("torchserve", "tfserving"):
        # Rounding may tip an image or two that lie between two classes.
        assert test_set.accuracy[engine] == pytest.approx(manifest.weights.training.test_accuracy, abs=3e-4)
        assert 0 < test_set.max_abs_diff[engine] <= 1e-4
    assert test_set.argmax_agreement == {"torchserve": 1, "tfserving": 1}


def ask(version: VersionPaths) -> "subprocess.CompletedProcess[str]":
    return run("-c", ASK_ARCHIVE, str(version.archive), str(version.golden))


def test_spoilt_versions_have_their_fault_and_no_other(mnist: ModelPaths) -> None:
    sound = bad_versions.copy_version(mnist, 1, 101)
    difference, _ = map(float, ask(sound).stdout.split())
    assert difference < 1e-4
    wrong = bad_versions.answers_wrongly(mnist, 1, 102)
    difference, _ = map(float, ask(wrong).stdout.split())
    assert difference == pytest.approx(1, abs=1e-4)
    slow = bad_versions.slow(mnist, 1, 103, seconds=0.5)
    difference, took_s = map(float, ask(slow).stdout.split())
    assert difference < 1e-4
    assert took_s >= 0.5
    raises, dies = (
        bad_versions.crash_on_load(mnist, 1, 104),
        bad_versions.crash_on_load(mnist, 1, 105, "dies"),
    )
    assert "cannot be loaded: made to fail on loading" in ask(raises).stderr
    assert ask(dies).returncode == 3
    for version in (sound, wrong, slow, raises, dies):
        assert find_damage(version) == ""
        assert read_document(version.manifest, Manifest).version == int(version.root.name)


@pytest.mark.parametrize(("what", "number"), [("variables", 110), ("archive", 111)])
def test_tampering_is_noticed(mnist: ModelPaths, what: str, number: int) -> None:
    spoil: Callable[..., VersionPaths] = bad_versions.tamper
    version = spoil(mnist, 1, number, what)
    named = "mnist.mar" if what == "archive" else "variables/variables.data-00000-of-00001"
    assert find_damage(version).startswith(f"{named} was changed")
    shutil.rmtree(version.root)
