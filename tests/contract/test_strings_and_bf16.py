"""Models with BYTES and with BF16: published from the frameworks' own files, promoted, and asked by every client."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from contracts.bfloat16 import narrow, widen
from contracts.byte_strings import array_of
from contracts.golden import read_golden
from contracts.integrity import find_damage
from contracts.layout import ModelPaths
from contracts.manifest import Manifest, read_document
from tests.platform_process import Platform, running_platform, wait_until
from twinserve.client import CallError, GatewayClient, Wishes

pytestmark = pytest.mark.engines

WORDS = {
    "model": "words",
    "signature": {
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "upper", "datatype": "BYTES", "shape": [-1]},
            {"name": "reversed_bytes", "datatype": "BYTES", "shape": [-1]},
        ],
    },
}
HALVES = {
    "model": "halves",
    "signature": {
        "inputs": [{"name": "x", "datatype": "BF16", "shape": [-1, 2]}],
        "outputs": [{"name": "y", "datatype": "BF16", "shape": [-1, 2]}],
    },
}
TORCH_HALVES = """
import sys, torch
class Halves(torch.nn.Module):
    def forward(self, x):
        return x / 3 + 2
torch.jit.script(Halves()).save(sys.argv[1])
"""
TF_HALVES = """
import sys, tensorflow as tf
class Halves(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.bfloat16, name="x")])
    def halve(self, x):
        return {"y": x / tf.constant(3, tf.bfloat16) + tf.constant(2, tf.bfloat16)}
made = Halves()
tf.saved_model.save(made, sys.argv[1], signatures={"serving_default": made.halve})
"""
TEXT = array_of([b"one", "zwölf".encode(), b"", b"x" * 3000], (4,))


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=240, check=False)


def publish(repository: Path, model: str, *options: object) -> "subprocess.CompletedProcess[str]":
    return run("-m", "twinserve", "publish", model, "--repository", str(repository), *map(str, options))


@pytest.fixture(scope="module")
def own_repository(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A repository with two versions of each model beside the shipped ones."""
    folder = tmp_path_factory.mktemp("strings")
    own = folder / "repository"
    shutil.copytree(repository, own, symlinks=True, ignore=shutil.ignore_patterns(".*"))
    # Files, for TorchScript wants to read its source.
    (folder / "in_torch.py").write_text(TORCH_HALVES)
    (folder / "in_tensorflow.py").write_text(TF_HALVES)
    for made in (
        run("-m", "workers.tf.samples", str(folder), "--only", "words"),
        run(str(folder / "in_torch.py"), str(folder / "halves.pt")),
        run(str(folder / "in_tensorflow.py"), str(folder / "halves")),
    ):
        assert made.returncode == 0, made.stderr
    for model in (WORDS, HALVES):
        (folder / f"{model['model']}.json").write_text(json.dumps(model))
    np.savez(folder / "golden.npz", text=np.array(["a", "bc", "Grüße"]))
    for number, options in enumerate(([], ["--golden", folder / "golden.npz"]), 1):
        done = publish(
            own, "words", "--from-saved-model", folder / "words" / "1", "--describe", folder / "words.json", *options
        )
        assert done.returncode == 0, done.stderr
        assert f"words {number}: published for tfserving alone: PyTorch has no strings" in done.stdout
    done = publish(
        own,
        "halves",
        *("--from-saved-model", folder / "halves", "--from-torchscript", folder / "halves.pt"),
        *("--describe", folder / "halves.json"),
    )
    assert done.returncode == 0, done.stderr
    assert "halves 1: published, engines within" in done.stdout
    return own


def test_what_was_published(own_repository: Path) -> None:
    words = ModelPaths(own_repository, "words")
    manifest = read_document(words.version(2).manifest, Manifest)
    assert (manifest.made_from, manifest.parity.reference) == ({"tfserving": "saved_model"}, "saved_model")
    assert not words.version(2).archive.exists()
    golden = read_golden(words.version(2).golden)
    assert golden.inputs["text"].tolist() == [b"a", b"bc", "Grüße".encode()]
    assert golden.outputs["upper"].tolist()[:2] == [b"A", b"BC"]
    drawn = read_golden(words.version(1).golden)
    assert drawn.outputs["upper"].tolist() == [text.upper() for text in drawn.inputs["text"].tolist()]
    assert find_damage(words.version(1)) == find_damage(words.version(2)) == ""
    halves = ModelPaths(own_repository, "halves").version(1)
    both = read_document(halves.manifest, Manifest)
    assert both.made_from == {"torchserve": "torchscript", "tfserving": "saved_model"}
    told = read_golden(halves.golden)
    np.testing.assert_allclose(widen(told.outputs["y"]), widen(told.inputs["x"]) / 3 + 2, rtol=0.02)


def test_torchscript_is_not_taken_for_strings(own_repository: Path, tmp_path: Path) -> None:
    (tmp_path / "model.pt").touch()
    saved = ("--from-saved-model", own_repository / "words" / "1")
    refused = publish(own_repository, "words", *saved, "--from-torchscript", tmp_path / "model.pt")
    assert refused.returncode == 1
    assert "words has BYTES, which PyTorch has not: give the SavedModel alone" in refused.stderr


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, own_repository: Path) -> Iterator[Platform]:
    with running_platform(tmp_path_factory.mktemp("platform"), own_repository) as platform:
        yield platform


@pytest.mark.timeout(300)
def test_strings_are_promoted_and_served(running: Platform) -> None:
    url = f"http://127.0.0.1:{running.ports.http}"
    wait_until(lambda: requests.get(f"{url}/v2/models/words/ready", timeout=10).ok, 60, "it is served")
    assert requests.get(f"{url}/v2/health/ready", timeout=10).ok
    for version in ("2", "1"):
        promoted = running.run("promote", "words", version, "--keep", "0")
        assert promoted.returncode == 0, promoted.stderr
    gateway = GatewayClient(url)
    answer = gateway.infer("words", {"text": TEXT})
    assert (answer.engine, answer.version) == ("tfserving", 1)
    assert answer.outputs["upper"].tolist() == [text.upper() for text in TEXT.tolist()]
    assert answer.outputs["reversed_bytes"].tolist() == [text[::-1] for text in TEXT.tolist()]
    with pytest.raises(CallError, match="words version 1 is for tfserving alone, not for 'torchserve'") as refused:
        gateway.infer("words", {"text": TEXT}, Wishes(engine="torchserve"))
    assert refused.value.status == 400
    told = running.run("promote", "words", "2", "--engines", "torchserve")
    assert "version 2 of 'words' is not for 'torchserve'" in told.stderr
    assert "not made for it" in running.run("status").stdout


def test_every_dialect_has_strings(running: Platform) -> None:
    url = f"http://127.0.0.1:{running.ports.http}"
    for text, status in (("b\u00f6se", 400), ("ab", 200)):  # half a letter backwards is no UTF-8
        tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}
        told = requests.post(f"{url}/v2/models/words/infer", json={"inputs": [tensor]}, timeout=20)
        assert told.status_code == status, told.text
    outputs = {output["name"]: output["data"] for output in told.json()["outputs"]}
    assert outputs == {"upper": ["AB"], "reversed_bytes": ["ba"]}
    instances = ["ab", {"b64": base64.b64encode(b"\xc3\xa9c").decode()}]
    told = requests.post(f"{url}/v1/models/words:predict", json={"instances": instances}, timeout=20)
    backwards = {"b64": base64.b64encode(b"c\xa9\xc3").decode()}
    assert told.json()["predictions"] == [
        {"reversed_bytes": {"b64": "YmE="}, "upper": "AB"},
        {"reversed_bytes": backwards, "upper": "éC"},
    ]


def test_tritonclient_and_tensorflows_own(running: Platform) -> None:
    import grpc
    import tensorflow as tf
    import tritonclient.grpc as triton
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    target = f"127.0.0.1:{running.ports.grpc}"
    with triton.InferenceServerClient(target) as client:
        text: Any = triton.InferInput("text", list(TEXT.shape), "BYTES")
        text.set_data_from_numpy(TEXT)
        result: Any = client.infer("words", [text])
        assert result.as_numpy("upper").tolist() == [word.upper() for word in TEXT.tolist()]
        values = np.array([[1, 2], [-3.5, 1e30]], tf.bfloat16.as_numpy_dtype)
        for engine in ("torchserve", "tfserving"):
            x: Any = triton.InferInput("x", [2, 2], "BF16")
            x.set_data_from_numpy(values)
            result = client.infer("halves", [x], headers={"x-engine": engine})
            expected = values.astype(np.float32) / 3 + 2
            np.testing.assert_allclose(result.as_numpy("y").astype(np.float32), expected, rtol=0.02)
    with grpc.insecure_channel(target) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "words"
        request.inputs["text"].CopyFrom(tf.make_tensor_proto(TEXT.tolist()))
        told = tf.make_ndarray(stub.Predict(request, timeout=20).outputs["reversed_bytes"])
        assert told.tolist() == [word[::-1] for word in TEXT.tolist()]
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "halves"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(values))
        told = tf.make_ndarray(stub.Predict(request, timeout=20).outputs["y"])
        np.testing.assert_allclose(told.astype(np.float32), expected, rtol=0.02)


def test_both_engines_serve_bf16_alike(running: Platform) -> None:
    gateway = GatewayClient(f"http://127.0.0.1:{running.ports.http}")
    x = narrow(np.linspace(-9, 9, 300).reshape(150, 2))
    told = {
        engine: gateway.infer("halves", {"x": x}, Wishes(engine=engine)).outputs["y"]
        for engine in ("torchserve", "tfserving")
    }
    # One rounding more or less, of the quotient or of the sum.
    np.testing.assert_allclose(told["torchserve"], told["tfserving"], atol=2**-6, rtol=2**-7)
