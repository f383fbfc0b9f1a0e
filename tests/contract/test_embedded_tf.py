"""The embedded TF server as its clients see it: a real process, the official stubs, a real SavedModel."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest

pytestmark = pytest.mark.engines

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

for version in (1, 2):
    model = Model(version)
    signatures = {"serving_default": model.add, "slow": model.slow, "parse": model.parse}
    model.echoes = {dtype.name: echo(dtype) for dtype in DTYPES}
    signatures.update({f"echo_{name}": function for name, function in model.echoes.items()})
    staged = os.path.join(sys.argv[1], f".staging-{version}")
    tf.saved_model.save(model, staged, signatures=signatures)
    os.rename(staged, os.path.join(sys.argv[1], str(version)))
"""


class Engine:
    """A running server and its two clients."""

    def __init__(self, run_dir: Path, config: str = "model_config_list {}", *flags: str) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "models.config").write_text(config)
        self.port, self.rest_port = free_port(), free_port()
        self.log = run_dir / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "workers.tf.embedded", f"--port={self.port}"),
                    *(f"--rest_api_port={self.rest_port}", f"--model_config_file={run_dir / 'models.config'}"),
                    *("--max_num_load_retries=1", "--load_retry_interval_micros=100000", *flags),
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        # Not at the top: this file is also collected where nothing may import tensorflow.
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        self.predictions: Any = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models: Any = model_service_pb2_grpc.ModelServiceStub(self.channel)

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

    def get(self, target: str, method: str = "GET", **headers: str) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=WAIT_S)
        try:
            connection.request(method, target, headers=headers)
            response = connection.getresponse()
            return response.status, response.headers["content-type"], response.read()
        finally:
            connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


def pinned(base_path: Path, *versions: int, name: str = "calc", more: str = "") -> str:
    listed = " ".join(f"versions: {version}" for version in versions)
    return (
        f'config {{ name: "{name}" base_path: "{base_path}" model_platform: "tensorflow" '
        f"model_version_policy {{ specific {{ {listed} }} }} {more} }}"
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "calc"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", EXPORT, str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine(tmp_path_factory.mktemp("run"))
    try:
        line = engine.first_line()
        assert line == f"Serving gRPC on 127.0.0.1:{engine.port}, REST on 127.0.0.1:{engine.rest_port}\n", line
        yield engine
        asked_s = time.monotonic()
        assert engine.stop() == 0, engine.log.read_text()
        assert time.monotonic() - asked_s < 5
    finally:
        engine.process.kill()


@pytest.fixture
def engine(running: Engine, exported: Path) -> Engine:
    """The server with version 1, and only it, being served."""
    running.reload(pinned(exported, 1))
    until(lambda: running.live() == {1: AVAILABLE})
    return running


def test_predict_answers_in_typed_fields(engine: Engine) -> None:
    answer = engine.predict(x=np.array([[1, 2], [3, 4]], np.float32))
    assert (answer.model_spec.name, answer.model_spec.signature_name) == ("calc", "serving_default")
    assert answer.model_spec.version.value == 1
    assert list(answer.outputs["sum"].float_val) == [2, 3, 4, 5]
    assert answer.outputs["sum"].tensor_content == b""
    assert [dim.size for dim in answer.outputs["sum"].tensor_shape.dim] == [2, 2]
    assert list(answer.outputs["version"].float_val) == [1]


def test_an_output_filter_leaves_the_rest_out(engine: Engine) -> None:
    request = predict_request("calc", "", x=np.zeros((1, 2), np.float32))
    request.output_filter.append("version")
    assert list(engine.predictions.Predict(request).outputs) == ["version"]


ECHOES = {
    "float32": np.array([[0.1, -np.inf], [3, 4]], np.float32),
    "float64": np.array([0.1, np.nan]),
    "float16": np.array([0.5, -2], np.float16),
    "int8": np.array([-128, 127], np.int8),
    "uint8": np.array([0, 255], np.uint8),
    "int16": np.array([-32768, 5], np.int16),
    "uint16": np.array([65535, 5], np.uint16),
    "int32": np.array([[-(2**31)], [5]], np.int32),
    "int64": np.array([2**62, -1]),
    "uint32": np.array([2**32 - 1, 1], np.uint32),
    "uint64": np.array([2**64 - 1, 1], np.uint64),
    "bool": np.array([True, False]),
    "bfloat16": np.array([0.5, -2], ml_dtypes.bfloat16),
    "string": np.array([b"\xff\x00", b"", b"text"], np.object_),
    "complex64": np.array([1 + 2j, 3 - 4j], np.complex64),
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.float32(7),
}


@pytest.mark.parametrize("name", ECHOES)
def test_every_dtype_comes_back_as_it_went_by_content_and_by_values(engine: Engine, name: str) -> None:
    import tensorflow as tf

    array = ECHOES[name]
    signature = "echo_float32" if name in ("empty", "scalar") else f"echo_{name}"
    answer = engine.predict(signature=signature, t=array).outputs["t"]
    assert answer.tensor_content == b""
    np.testing.assert_array_equal(tf.make_ndarray(answer), array)
    # What came back is the typed form, so sending it again covers the other way of writing a tensor.
    again = engine.predict(signature=signature, t=answer).outputs["t"]
    assert again == answer or name == "float64", "NaN differs from itself"


def test_too_few_values_repeat_the_last_and_huge_claims_are_refused(engine: Engine) -> None:
    from tensorflow.core.framework import tensor_pb2

    proto: Any = tensor_pb2.TensorProto(dtype=1, float_val=[1, 2])
    proto.tensor_shape.dim.add(size=4)
    assert list(engine.predict(signature="echo_float32", t=proto).outputs["t"].float_val) == [1, 2, 2, 2]
    for size in (1 << 40, -1):
        proto.tensor_shape.dim[0].size = size
        message = failure(grpc.StatusCode.INVALID_ARGUMENT, lambda: engine.predict(signature="echo_float32", t=proto))
        assert message == "tensor parsing error: t"


@pytest.mark.parametrize(
    ("case", "code", "message"),
    [
        ("dtype", grpc.StatusCode.INVALID_ARGUMENT, "Expects arg[0] to be float but int32 is provided"),
        ("rank", grpc.StatusCode.INVALID_ARGUMENT, 'Input "x" expects shape [-1,2], received [2]'),
        ("dimension", grpc.StatusCode.INVALID_ARGUMENT, 'Input "x" expects shape [-1,2], received [1,3]'),
        ("model", grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(nope)"),
        ("version", grpc.StatusCode.NOT_FOUND, "Servable not found for request: Specific(calc, 9)"),
        ("label", grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label: canary"),
        ("signature", grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "nope" not found.'),
        (
            "filter",
            grpc.StatusCode.INVALID_ARGUMENT,
            "output tensor alias not found in signature: nope Outputs expected",
        ),
        ("nameless", grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        ("specless", grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec"),
        (
            "inputless",
            grpc.StatusCode.INVALID_ARGUMENT,
            "input size does not match signature: 0!=1 len({}) != len({x})",
        ),
    ],
)
def test_errors_are_the_originals(engine: Engine, case: str, code: grpc.StatusCode, message: str) -> None:
    good = predict_request("calc", "", x=np.zeros((1, 2), np.float32))
    changes: dict[str, Callable[[], Any]] = {
        "dtype": lambda: good.inputs["x"].CopyFrom(content(np.zeros((1, 2), np.int32))),
        "rank": lambda: good.inputs["x"].CopyFrom(content(np.zeros(2, np.float32))),
        "dimension": lambda: good.inputs["x"].CopyFrom(content(np.zeros((1, 3), np.float32))),
        "model": lambda: setattr(good.model_spec, "name", "nope"),
        "version": lambda: setattr(good.model_spec.version, "value", 9),
        "label": lambda: setattr(good.model_spec, "version_label", "canary"),
        "signature": lambda: setattr(good.model_spec, "signature_name", "nope"),
        "filter": lambda: good.output_filter.append("nope"),
        "nameless": lambda: setattr(good.model_spec, "name", ""),
        "specless": lambda: good.ClearField("model_spec"),
        "inputless": lambda: good.inputs.clear(),
    }
    changes[case]()
    assert failure(code, lambda: engine.predictions.Predict(good, timeout=WAIT_S)).startswith(message)


@pytest.mark.parametrize("garbage", [b"\xff\xfe\x80", b"garbage"])
def test_bytes_a_model_cannot_parse_are_the_clients_fault(engine: Engine, garbage: bytes) -> None:
    examples = np.array([garbage], np.object_)
    failure(grpc.StatusCode.INVALID_ARGUMENT, lambda: engine.predict(signature="parse", examples=examples))


def test_metadata_shows_the_signatures(engine: Engine) -> None:
    from tensorflow_serving.apis import get_model_metadata_pb2

    request: Any = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "calc"
    message = failure(grpc.StatusCode.INVALID_ARGUMENT, lambda: engine.predictions.GetModelMetadata(request))
    assert message == "GetModelMetadataRequest must specify at least one metadata_field"
    request.metadata_field.append("signature_def")
    answer = engine.predictions.GetModelMetadata(request)
    signatures: Any = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert answer.model_spec.version.value == 1
    assert [dim.size for dim in signatures.signature_def["serving_default"].inputs["x"].tensor_shape.dim] == [-1, 2]
    status, kind, body = engine.get("/v1/models/calc/metadata")
    told = json.loads(body)
    assert (status, kind, told["model_spec"]["version"]) == (200, "application/json", "1")
    assert told["metadata"]["signature_def"]["signature_def"]["slow"]["inputs"]["steps"]["dtype"] == "DT_INT32"


def test_calls_not_built_yet_say_so(engine: Engine) -> None:
    from tensorflow_serving.apis import classification_pb2

    failure(
        grpc.StatusCode.UNIMPLEMENTED,
        lambda: engine.predictions.Classify(classification_pb2.ClassificationRequest(), timeout=WAIT_S),
    )


def test_rest_status_and_errors(engine: Engine) -> None:
    status, kind, body = engine.get("/v1/models/calc/versions/1")
    assert (status, kind) == (200, "application/json")
    ok = {"error_code": "OK", "error_message": ""}
    assert json.loads(body) == {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": ok}]}
    for method, target, code, message in [
        ("GET", "/v1/models/calc?x=1", 404, "Could not find any versions of model calc?x=1"),
        ("GET", "/v1/models/calc/versions/9", 404, "Could not find version 9 of model calc"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/calc/", 400, "Malformed request: GET /v1/models/calc/"),
        ("PUT", "/v1/models/calc", 400, "Malformed request: PUT /v1/models/calc"),
        ("POST", "/v1/models/calc:predict?x=1", 400, "Malformed request: POST /v1/models/calc:predict?x=1"),
    ]:
        status, kind, body = engine.get(target, method)
        assert (status, kind, json.loads(body)) == (code, "application/json", {"error": message})
    assert engine.get("/elsewhere")[:2] == (404, "text/html")
    assert engine.get("/v1/models/calc", "OPTIONS", Origin="http://a")[::2] == (200, b"")
    assert engine.get("/v1/models/calc", "OPTIONS")[::2] == (400, b"")


def test_swaps_back_and_forth_under_load_lose_nothing(engine: Engine, exported: Path) -> None:
    enough = threading.Event()
    request = predict_request("calc", "", x=np.array([[1, 2]] * 64, np.float32))

    def load() -> dict[int, int]:
        answered: dict[int, int] = {}
        while not enough.is_set():
            answer = engine.predictions.Predict(request, timeout=WAIT_S)
            version = answer.model_spec.version.value
            assert answer.outputs["sum"].float_val[:2] == [1 + version, 2 + version]
            answered[version] = answered.get(version, 0) + 1
        return answered

    with ThreadPoolExecutor(4) as clients:
        running = [clients.submit(load) for _ in range(4)]
        try:
            for target in (2, 1, 2, 1):
                engine.reload(pinned(exported, target))
                until(lambda t=target: engine.live() == {t: AVAILABLE})  # type: ignore[misc]
        finally:
            enough.set()
        for client in running:
            answered = client.result(WAIT_S)
            assert answered[1] > 0
            assert answered[2] > 0


def test_a_deadline_ends_the_run_and_returns_the_lease(engine: Engine, exported: Path) -> None:
    failure(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        lambda: engine.predict(signature="slow", timeout_s=0.5, steps=np.int32(2**31 - 1)),
    )
    # The loop would run for minutes: version 1 can only be unloaded because the server, too, has stopped it.
    engine.reload(pinned(exported, 2))
    until(lambda: engine.live() == {2: AVAILABLE})


def test_a_broken_version_keeps_the_old_one(engine: Engine, exported: Path) -> None:
    broken = exported / "3"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"not a graph")
    try:
        engine.reload(pinned(exported, 3))
        until(lambda: engine.states().get(3) == END)
        assert engine.states()[1] == AVAILABLE
        assert engine.predict(x=np.zeros((1, 2), np.float32)).model_spec.version.value == 1
        told = json.loads(engine.get("/v1/models/calc/versions/3")[2])["model_version_status"][0]["status"]
        assert told["error_code"] != "OK"
        assert told["error_message"]
    finally:
        engine.reload(pinned(exported, 1))
        (broken / "saved_model.pb").unlink()
        broken.rmdir()


def test_labels_point_at_available_versions_only(engine: Engine, exported: Path) -> None:
    engine.reload(pinned(exported, 1, more='version_labels { key: "stable" value: 1 }'))
    request = predict_request("calc", "", x=np.zeros((1, 2), np.float32))
    request.model_spec.version_label = "stable"
    assert engine.predictions.Predict(request).model_spec.version.value == 1
    entry = pinned(exported, 1, 2, more='version_labels { key: "canary" value: 2 }')
    message = failure(grpc.StatusCode.FAILED_PRECONDITION, lambda: engine.reload(entry))
    assert message.startswith("Request to assign label to version 2 of model calc, which is not currently available")


def test_a_new_model_that_cannot_load_fails_the_reload(engine: Engine, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    message = failure(
        grpc.StatusCode.UNKNOWN, lambda: engine.reload(pinned(exported, 1), pinned(tmp_path, 1, name="hollow"))
    )
    assert message.startswith(
        "1 model(s) did not become available: {{{name: hollow version: 1} due to error: NOT_FOUND:"
    )


def test_a_reload_nobody_waits_for_any_more_makes_way_for_the_next(engine: Engine, exported: Path) -> None:
    missing = pinned(exported.parent / "missing", 1, name="missing")
    failure(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: engine.reload(pinned(exported, 1), missing, timeout_s=0.5))
    engine.reload(pinned(exported, 2))
    until(lambda: engine.live() == {2: AVAILABLE})


def test_the_process_ends_with_its_loop(tmp_path: Path) -> None:
    config = tmp_path / "models.config"
    config.write_text("model_config_list {}")
    code = """if True:
        import sys
        from workers.tf.embedded import __main__ as server, manager
        def die(self):
            raise RuntimeError("out of luck")
        manager.Manager.run = die
        sys.exit(server.main(sys.argv[1:]))
    """
    flags = [f"--port={free_port()}", f"--model_config_file={config}"]
    ended = subprocess.run([sys.executable, "-c", code, *flags], capture_output=True, text=True, timeout=WAIT_S)
    assert ended.returncode == 1
    assert 'thread "manager" died of RuntimeError: out of luck; giving up' in ended.stderr


def test_a_model_that_cannot_load_at_start_ends_the_process(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    engine = Engine(tmp_path / "run", f"model_config_list {{ {pinned(tmp_path / 'm', 1)} }}")
    try:
        assert engine.process.wait(WAIT_S) == 255
        assert engine.first_line().startswith("Failed to start server. Error: UNKNOWN: 1 servable(s) did not become")
    finally:
        engine.process.kill()


def test_ports_open_with_the_models_and_shape_check_off_feeds_anything(tmp_path: Path, exported: Path) -> None:
    config = f"model_config_list {{ {pinned(tmp_path / 'late', 1)} }}"
    engine = Engine(tmp_path / "run", config, "--shape_check=off", "--unknown=1", "--bind_address=127.0.0.1")
    try:
        assert engine.first_line() == "unknown argument: --unknown=1\n"
        until(lambda: "cannot list a base path" in engine.log.read_text())
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", engine.port)):
            pass
        (tmp_path / "late").symlink_to(exported)
        until(lambda: engine.first_line().startswith("Serving"))
        answer = engine.predict(x=np.array([1, 2, 3], np.float32))
        assert list(answer.outputs["sum"].float_val) == [2, 3, 4]
        assert engine.stop() == 0
    finally:
        engine.process.kill()
