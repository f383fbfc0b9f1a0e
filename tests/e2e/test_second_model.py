"""A model of another shape than MNIST's beside it: published from both frameworks' own files, promoted, served."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from contracts.golden import read_golden
from contracts.layout import ModelPaths
from contracts.manifest import Manifest, read_document
from tests.platform_process import running_platform, wait_until
from tests.served_platform import ServedPlatform
from tests.targets import TargetPlatform

pytestmark = pytest.mark.engines

MODEL = "ranker"


def run_module(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", *arguments], check=True, timeout=120, capture_output=True)


@pytest.fixture
def extensible(request: pytest.FixtureRequest, tmp_path: Path, target: TargetPlatform) -> Iterator[ServedPlatform]:
    """A platform that may get another model: one of the test's own, or the composed one, whose last test this is."""
    if target is TargetPlatform.COMPOSE:
        yield request.getfixturevalue("platform")
    else:
        own = tmp_path / "repository"
        repository = request.getfixturevalue("repository")
        shutil.copytree(repository, own, symlinks=True, ignore=shutil.ignore_patterns(".*"))
        with running_platform(tmp_path, own) as platform:
            yield platform


@pytest.mark.timeout(400)
def test_a_model_with_several_inputs_and_outputs(tmp_path: Path, extensible: ServedPlatform) -> None:
    run_module("workers.torch.samples", "--out", str(tmp_path / "samples"))
    run_module("workers.tf.samples", str(tmp_path / "samples" / "tf"), "--only", MODEL)
    for _ in range(2):
        publish(extensible, tmp_path / "samples")
    wait_until(lambda: requests.get(f"{extensible.url}/v2/models/{MODEL}/ready", timeout=10).ok, 60, "it is served")
    metadata = requests.get(f"{extensible.url}/v2/models/{MODEL}", timeout=10).json()
    assert [(spec["name"], spec["datatype"], spec["shape"]) for spec in metadata["inputs"]] == [
        ("ids", "INT64", [-1, 4]),
        ("scale", "FP32", [-1, 1]),
    ]
    promoted = extensible.run("promote", MODEL, "2", "--keep", "0")
    assert promoted.returncode == 0, promoted.stderr
    answers = {engine: ask(extensible, engine) for engine in ("torchserve", "tfserving")}
    golden = read_golden(ModelPaths(extensible.repository, MODEL).version(2).golden)
    for outputs in answers.values():
        assert set(outputs) == {"scores", "top"}
        np.testing.assert_allclose(outputs["scores"], golden.outputs["scores"], atol=1e-5)
        np.testing.assert_array_equal(outputs["top"], golden.outputs["top"])
    image = extensible.run("predict", "docs/digits/7.png", "--json")
    assert '"label": "7"' in image.stdout, "mnist is served as before"


def publish(platform: ServedPlatform, samples: Path) -> None:
    """Publish the ranker once more; the first time its description must be given."""
    files = ["--from-torchscript", str(samples / MODEL / "model.pt")]
    files += ["--from-saved-model", str(saved_model(samples / "tf"))]
    paths = ModelPaths(platform.repository, MODEL)
    first = [] if paths.published() else ["--describe", str(samples / MODEL / "model.json")]
    published = platform.publish(MODEL, samples, *files, *first)
    assert published.returncode == 0, published.stderr
    version = paths.published()[-1]
    manifest = read_document(paths.version(version).manifest, Manifest)
    assert (manifest.version, manifest.parity.reference) == (version, "torchscript")
    assert manifest.parity.golden.rows == 64
    assert max(manifest.parity.golden.max_abs_diff.values()) < 1e-4


def saved_model(folder: Path) -> Path:
    return next(folder.rglob("saved_model.pb")).parent


def ask(platform: ServedPlatform, engine: str) -> dict[str, np.ndarray]:
    golden = read_golden(ModelPaths(platform.repository, MODEL).version(2).golden)
    inputs = [
        {"name": "ids", "datatype": "INT64", "shape": [64, 4], "data": golden.inputs["ids"].ravel().tolist()},
        {"name": "scale", "datatype": "FP32", "shape": [64, 1], "data": golden.inputs["scale"].ravel().tolist()},
    ]
    url = f"{platform.url}/v2/models/{MODEL}/infer"
    answer = requests.post(url, json={"inputs": inputs}, headers={"X-Engine": engine}, timeout=30)
    assert (answer.status_code, answer.headers["X-Engine"]) == (200, engine), answer.text
    assert answer.headers["X-Model-Version"] == "2"
    return {o["name"]: np.array(o["data"]).reshape(o["shape"]) for o in answer.json()["outputs"]}
