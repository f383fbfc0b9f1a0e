"""A version learnt in Keras beside one learnt in PyTorch: both engines serve both, as accurate as the manifests say."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contracts.layout import ModelPaths
from contracts.manifest import Manifest, read_document
from tests.platform_process import Platform, running_platform, wait_until
from tests.traffic import infer_binary
from workers.mnist import Split

pytestmark = [
    pytest.mark.engines,
    pytest.mark.only_on("up", "training and publishing are the same there, the second model is published in both"),
]

ENGINES = ("torchserve", "tfserving")
# A sixth of an epoch is enough to learn the digits well.
TRAIN = """
import dataclasses, sys
from pathlib import Path
from workers.mnist import Split, load_mnist
from workers.mnist.training import Recipe
from workers.tf.train import train_to_file
mnist = load_mnist(Path(sys.argv[1]))
some = dataclasses.replace(mnist, train=Split(mnist.train.images[:9600], mnist.train.labels[:9600]))
train_to_file(some, Recipe(1, 3, 0.001, 32), Path(sys.argv[2]), lambda *_: None)
"""


@pytest.mark.timeout(600)
def test_both_engines_serve_versions_of_both_frameworks(
    tmp_path: Path, repository: Path, mnist_folder: Path, mnist_test: Split
) -> None:
    weights = tmp_path / "keras.safetensors"
    run(sys.executable, "-c", TRAIN, str(mnist_folder), str(weights))
    copy = tmp_path / "repository"
    shutil.copytree(repository, copy, symlinks=True)
    run(sys.executable, "-m", "twinserve", "publish", "mnist", "--weights", str(weights), "--repository", str(copy))

    paths = ModelPaths(copy, "mnist")
    manifests = {v: read_document(paths.version(v).manifest, Manifest) for v in (2, 3)}
    assert [m.weights and m.weights.training.framework for m in manifests.values()] == ["torch", "keras"]
    with running_platform(tmp_path, copy) as platform:
        promoted = platform.run("promote", "mnist", "3")
        assert promoted.returncode == 0, promoted.stderr
        wait_until(lambda: is_loaded_everywhere(platform), 60, "both versions on both engines")
        for version, manifest in manifests.items():
            url = f"{platform.url}/v2/models/mnist/versions/{version}/infer"
            logits = {
                engine: np.concatenate(
                    [infer_binary(url, mnist_test.images[i : i + 250], engine) for i in range(0, 10_000, 250)]
                )
                for engine in ENGINES
            }
            for engine in ENGINES:
                accuracy = float((logits[engine].argmax(axis=1) == mnist_test.labels).mean())
                print(f"version {version} on {engine}: {accuracy:.4f}")
                assert accuracy == pytest.approx(manifest.accuracy, abs=1e-4)
                assert accuracy > 0.9
            assert np.abs(logits["torchserve"] - logits["tfserving"]).max() <= 1e-4


def is_loaded_everywhere(platform: Platform) -> bool:
    [model] = json.loads(platform.run("status", "--json").stdout)["models"]
    both = [version for version in model["versions"] if version["version"] in (2, 3)]
    return {engine["state"] for version in both for engine in version["engines"].values()} == {"ready"}


def run(*command: str) -> None:
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
