"""Real exports, of the shipped weights and of given artifacts, published and asked again from outside.

The test process imports neither framework: each artifact answers in a process of its own, which also reports whether
the other framework came along.
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from contracts.golden import read_golden
from contracts.integrity import find_damage
from contracts.layout import ModelPaths, VersionPaths
from contracts.live import read_live
from contracts.manifest import Manifest, read_document
from twinserve import staging
from twinserve.exporters import EXPORTERS
from twinserve.places import SHIPPED_MODEL as SHIPPED
from twinserve.publishing import PublishError, publish_versions

pytestmark = pytest.mark.engines

ROOT = Path(staging.__file__).resolve().parents[1]

ASK_SAVED_MODEL = """
import sys
import numpy as np, tensorflow as tf
root, inputs, answers = sys.argv[1:]
serve = tf.saved_model.load(root).signatures["serving_default"]
(name, spec), = serve.structured_input_signature[1].items()
assert (name, spec.dtype, spec.shape.as_list()) == ("images", tf.float32, [None, 28, 28]), spec
assert serve.structured_outputs["logits"].shape.as_list() == [None, 10]
np.savez(answers, logits=serve(images=tf.constant(np.load(inputs)["inputs/images"]))["logits"].numpy())
assert not {"torch", "workers", "contracts"} & sys.modules.keys()
"""
ASK_ARCHIVE = """
import importlib, os, sys
import numpy as np, safetensors.numpy
from ts.context import Context, RequestProcessor
folder, inputs, answers = sys.argv[1:]
os.chdir(folder)
sys.path.insert(0, folder)
handler = importlib.import_module("handler").Handler()
context = Context("mnist", folder, None, 1, None, "")
context.request_processor = [RequestProcessor({})]
handler.initialize(context)
body = safetensors.numpy.save({"images": np.load(inputs)["inputs/images"]})
answer, = handler.handle([{"body": bytearray(body)}], context)
np.savez(answers, **safetensors.numpy.load(answer))
assert not {"tensorflow", "workers", "contracts"} & sys.modules.keys()
"""
PERTURBED = """
import pathlib, sys, tempfile
import safetensors.numpy
from workers.{engine}.export import main
at = sys.argv.index("--weights") + 1
tensors = safetensors.numpy.load_file(sys.argv[at])
tensors["conv.bias"] = tensors["conv.bias"] + 0.01
with tempfile.TemporaryDirectory() as folder:
    sys.argv[at] = folder + "/weights.safetensors"
    safetensors.numpy.save_file(tensors, sys.argv[at])
    sys.exit(main())
"""


@pytest.fixture(scope="module")
def paths(repository: Path) -> ModelPaths:
    return ModelPaths(repository, "mnist")


def ask(code: str, artifact: Path, inputs: Path, answers: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    command = [sys.executable, "-c", code, str(artifact), str(inputs), str(answers)]
    done = subprocess.run(command, cwd=answers.parent, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(answers) as stored:
        answer: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = stored["logits"]
        return answer


def golden_logits(version: VersionPaths) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return read_golden(version.golden).outputs["logits"]


def test_both_versions_are_published_with_their_certificates(paths: ModelPaths) -> None:
    assert paths.published() == [1, 2]
    assert read_live(paths).live == 2
    for number in (1, 2):
        manifest = read_document(paths.version(number).manifest, Manifest)
        assert manifest.parity.golden.rows == 64
        assert set(manifest.parity.golden.max_abs_diff) == {"torchserve", "tfserving"}
        assert max(manifest.parity.golden.max_abs_diff.values()) <= manifest.parity.thresholds.atol == 1e-4
        assert {"Conv2D", "MatMul", "Relu", "VarHandleOp"} <= set(manifest.operators)
        assert find_damage(paths.version(number)) == ""


@pytest.mark.parametrize("number", [1, 2])
def test_the_saved_model_answers_without_torch_or_our_packages(paths: ModelPaths, tmp_path: Path, number: int) -> None:
    version = paths.version(number)
    answer = ask(ASK_SAVED_MODEL, version.root, version.golden, tmp_path / "answers.npz")
    np.testing.assert_allclose(answer, golden_logits(version), atol=1e-4)


@pytest.mark.parametrize("number", [1, 2])
def test_the_archive_answers_without_tensorflow_or_our_packages(paths: ModelPaths, tmp_path: Path, number: int) -> None:
    version = paths.version(number)
    with zipfile.ZipFile(version.archive) as archive:
        archive.extractall(tmp_path / "archive")
    answer = ask(ASK_ARCHIVE, tmp_path / "archive", version.golden, tmp_path / "answers.npz")
    np.testing.assert_allclose(answer, golden_logits(version), atol=1e-4)


def test_the_archive_carries_its_version_and_no_pickle(paths: ModelPaths) -> None:
    with zipfile.ZipFile(paths.version(2).archive) as archive:
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))
        names = set(archive.namelist())
    assert manifest["model"] == {"modelName": "mnist", "modelVersion": "2", "handler": "handler.py"}
    assert names == {"MAR-INF/MANIFEST.json", "handler.py", "model.py", "signature.json", "weights.safetensors"}


@pytest.mark.parametrize(("engine", "package"), [("torchserve", "torch"), ("tfserving", "tf")])
def test_artifacts_that_disagree_are_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, package: str
) -> None:
    (tmp_path / "perturbed.py").write_text(PERTURBED.format(engine=package))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setattr(staging, "EXPORTERS", {**EXPORTERS, engine: "perturbed"})
    paths = ModelPaths(tmp_path / "repository", "mnist")
    with pytest.raises(PublishError, match=rf"mnist 2: {engine} differs from the reference"):
        publish_versions(paths.repository, SHIPPED, [2], lambda _: None)
    assert [entry.name for entry in paths.root.iterdir()] == [".publishing.lock"]
