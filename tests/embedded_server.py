"""The embedded TF server as a real process, and the official client's two ways to it; for contract tests.

What needs tensorflow is imported where it is used: tests are collected where nothing may import it.
"""

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.ports import free_port

WAIT_S = 60.0
AVAILABLE, END = 30, 50

# Runs in a process of its own, which may import tensorflow.
EXPORT = """
import os, sys
import tensorflow as tf

FLOATS = tf.TensorSpec([None, 2], tf.float32, name="x")
DTYPES = [tf.float32, tf.float64, tf.float16, tf.bfloat16, tf.int8, tf.uint8, tf.int16, tf.uint16, tf.int32, tf.int64,
          tf.uint32, tf.uint64, tf.bool, tf.string, tf.complex64]

def echo(dtype):
    return tf.function(lambda t: {"t": tf.identity(t)}, input_signature=[tf.TensorSpec(None, dtype, name="t")])

class Model(tf.Module):
    def __init__(self, version):
        super().__init__()
        self.version = tf.Variable(float(version))

    @tf.function(input_signature=[FLOATS])
    def add(self, x):
        return {"sum": x + self.version, "version": tf.identity(self.version)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="steps")])
    def slow(self, steps):
        return {"steps": tf.while_loop(lambda i: i < steps, lambda i: i + 1, [tf.constant(0)])[0]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def parse(self, examples):
        return tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs):
        return {"scores": self.parse(inputs)["x"] + self.version}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(self, inputs):
        return {"outputs": self.parse(inputs)["x"] * 2}

for version in (1, 2):
    model = Model(version)
    signatures = {"serving_default": model.add, "slow": model.slow, "parse": model.parse,
                  "classify": model.classify, "regress": model.regress}
    model.echoes = {dtype.name: echo(dtype) for dtype in DTYPES}
    signatures.update({f"echo_{name}": function for name, function in model.echoes.items()})
    staged = os.path.join(sys.argv[1], f".staging-{version}")
    tf.saved_model.save(model, staged, signatures=signatures)
    os.rename(staged, os.path.join(sys.argv[1], str(version)))
"""


class Engine:
    """A running server and its two clients. `config` None: the flags say what is served."""

    def __init__(self, run_dir: Path, config: str | None = "model_config_list {}", *flags: str) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self.config = run_dir / "models.config"
        if config is not None:
            self.config.write_text(config)
            flags = (f"--model_config_file={self.config}", *flags)
        self.port, self.rest_port = free_port(), free_port()
        self.log = run_dir / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "workers.tf.embedded", f"--port={self.port}"),
                    *(f"--rest_api_port={self.rest_port}", "--max_num_load_retries=1"),
                    *("--load_retry_interval_micros=100000", *flags),
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.use(grpc.insecure_channel(f"127.0.0.1:{self.port}"))

    def use(self, channel: grpc.Channel) -> None:
        """Talk gRPC through this channel from now on."""
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        self.channel = channel
        self.predictions: Any = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.models: Any = model_service_pb2_grpc.ModelServiceStub(channel)

    def first_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def stop(self) -> int:
        self.channel.close()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)

    def predict(self, model: str = "calc", signature: str = "", timeout_s: float = WAIT_S, **inputs: Any) -> Any:
        return self.predictions.Predict(predict_request(model, signature, **inputs), timeout=timeout_s)

    def reload(self, *entries: str, timeout_s: float = WAIT_S) -> None:
        from google.protobuf import text_format
        from tensorflow_serving.apis import model_management_pb2

        request: Any = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(f"model_config_list {{ {' '.join(entries)} }}", request.config)
        self.models.HandleReloadConfigRequest(request, timeout=timeout_s)

    def states(self, model: str = "calc") -> dict[int, int]:
        from tensorflow_serving.apis import get_model_status_pb2

        request: Any = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        answer = self.models.GetModelStatus(request, timeout=WAIT_S)
        return {status.version: status.state for status in answer.model_version_status}

    def live(self) -> dict[int, int]:
        """The states of the versions that have not ended."""
        return {version: state for version, state in self.states().items() if state != END}

    def get(
        self, target: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, str, bytes]:
        """Status, content type and body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=WAIT_S)
        try:
            connection.request(method, target, body, {name.replace("_", "-"): text for name, text in headers.items()})
            response = connection.getresponse()
            return response.status, response.headers["content-type"], response.read()
        finally:
            connection.close()

    def post(self, target: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Status and JSON of the answer; a body that is not bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, _, answer = self.get(f"/v1/models/{target}", "POST", data, **headers)
        return status, json.loads(answer)


@contextmanager
def running_engine(run_dir: Path, config: str | None = "model_config_list {}", *flags: str) -> Iterator[Engine]:
    """A server that serves; it must stop in good order."""
    engine = Engine(run_dir, config, *flags)
    try:
        line = engine.first_line()
        assert line.startswith(f"Serving gRPC on 127.0.0.1:{engine.port}"), line
        yield engine
        asked_s = time.monotonic()
        assert engine.stop() == 0, engine.log.read_text()
        assert time.monotonic() - asked_s < 5
    finally:
        engine.process.kill()
        engine.process.wait(WAIT_S)


def calc_model(factory: pytest.TempPathFactory) -> Path:
    """Base path of a model with the versions 1 and 2, made once a session."""
    folder = factory.getbasetemp() / "embedded-tf" / "calc"
    if not folder.exists():
        folder.mkdir(parents=True)
        subprocess.run([sys.executable, "-c", EXPORT, str(folder)], check=True, capture_output=True)
    return folder


def sample_models(factory: pytest.TempPathFactory) -> Path:
    """Folder with the models of workers.tf.samples, made once a session."""
    folder = factory.getbasetemp() / "embedded-tf" / "samples"
    if not folder.exists():
        subprocess.run([sys.executable, "-m", "workers.tf.samples", str(folder)], check=True, capture_output=True)
    return folder


def until(condition: Callable[[], bool]) -> None:
    """Ask the server until it says so; each question is a round trip, so this does not spin."""
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s


def predict_request(model: str, signature: str, **inputs: Any) -> Any:
    from tensorflow_serving.apis import predict_pb2

    request: Any = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(value if hasattr(value, "tensor_shape") else content(value))
    return request


def content(array: Any) -> Any:
    """The array as TensorProto with tensor_content, but for strings and single elements."""
    import tensorflow as tf

    return tf.make_tensor_proto(array)


def failure(code: grpc.StatusCode, call: Callable[[], Any]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    assert error.code() is code, error.details()
    return str(error.details())


def model_list(*entries: str) -> str:
    """A configuration file of these entries."""
    return f"model_config_list {{ {' '.join(entries)} }}"


def pinned(base_path: Path, *versions: int, name: str = "calc", more: str = "") -> str:
    listed = " ".join(f"versions: {version}" for version in versions)
    return (
        f'config {{ name: "{name}" base_path: "{base_path}" model_platform: "tensorflow" '
        f"model_version_policy {{ specific {{ {listed} }} }} {more} }}"
    )
