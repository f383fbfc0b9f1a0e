"""What operators set: flags of the embedded TF server, its metrics, health, transports, batching and warm-up."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tests.embedded_server import (
    AVAILABLE,
    END,
    WAIT_S,
    Engine,
    calc_model,
    content,
    failure,
    model_list,
    pinned,
    predict_request,
    running_engine,
    sample_models,
    until,
)

pytestmark = pytest.mark.engines

METRICS = "/monitoring/prometheus/metrics"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return calc_model(tmp_path_factory)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_models(tmp_path_factory)


def ones(*shape: int) -> Any:
    return np.ones(shape, np.float32)


def test_one_model_by_flags_metrics_health_and_arguments(tmp_path: Path, exported: Path) -> None:
    (tmp_path / "monitoring").write_text(f'prometheus_config {{ enable: true, path: "{METRICS}" }}')
    flags = (
        "--model_name=calc",
        f"--model_base_path={exported}",
        f"--monitoring_config_file={tmp_path / 'monitoring'}",
        "--enable_grpc_healthcheck_service",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb",
        "--enable_serialization_as_tensor_content=true",
        "--tensorflow_intra_op_parallelism=1",
        "--enable_profiler=false",
    )
    with running_engine(tmp_path / "run", None, *flags) as engine:
        assert engine.live() == {2: AVAILABLE}
        answer = engine.predict(x=ones(1, 2)).outputs["sum"]
        assert answer.tensor_content == np.full(2, 3, np.float32).tobytes()
        assert engine.post("calc:predict", {"inputs": [[1, 2]]})[0] == 200
        failure(grpc.StatusCode.NOT_FOUND, lambda: engine.predict(model="nope"))
        engine.get("/v1/nonsense")
        check_metrics(engine)
        check_health(engine)


def check_metrics(engine: Engine) -> None:
    status, kind, body = engine.get(METRICS)
    lines = body.decode().splitlines()
    assert (status, kind) == (200, "text/plain")
    prefix = ":tensorflow:serving:"
    assert f"# TYPE {prefix}request_count counter" in lines
    assert f'{prefix}request_count{{model_name="calc",status="OK"}} 2' in lines
    assert f'{prefix}request_count{{model_name="nope",status="NOT_FOUND"}} 1' in lines
    assert f'{prefix}request_count{{model_name="",status="INVALID_ARGUMENT"}} 1' in lines
    assert "# TYPE :tensorflow:cc:saved_model:load_attempt_count counter" in lines
    for api, entrypoint in (("Predict", "GRPC"), ("predict", "REST")):
        labels = f'model_name="calc",API="{api}",entrypoint="{entrypoint}"'
        assert f"{prefix}request_latency_count{{{labels}}} 1" in lines
        bounds = [line.split('le="')[1].split('"')[0] for line in lines if f"_bucket{{{labels}" in line]
        assert (len(bounds), bounds[:5], bounds[-1]) == (34, ["10", "18", "32.4", "58.32", "104.976"], "+Inf")
    assert f'{prefix}runtime_latency_count{{model_name="calc",API="Predict",runtime="TF1"}} 2' in lines
    assert engine.get(f"{METRICS}?x=1") == (400, "text/plain", f"Unexpected path: {METRICS}?x=1".encode())


def check_health(engine: Engine) -> None:
    check: Any = engine.channel.unary_unary("/grpc.health.v1.Health/Check")
    for service in (b"", b"\x0a\x0cModelService", b"\x0a\x11PredictionService"):
        assert check(service, timeout=WAIT_S) == b"\x08\x01"
    failure(grpc.StatusCode.NOT_FOUND, lambda: check(b"\x0a\x01x", timeout=WAIT_S))


def test_metrics_and_health_are_off_by_default(tmp_path: Path) -> None:
    with running_engine(tmp_path / "run") as engine:
        assert engine.get(METRICS)[0] == 404
        check: Any = engine.channel.unary_unary("/grpc.health.v1.Health/Check")
        failure(grpc.StatusCode.UNIMPLEMENTED, lambda: check(b"", timeout=WAIT_S))


def test_a_unix_socket_and_tls(tmp_path: Path, exported: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program to make a certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", tmp_path / "key", "-out", tmp_path / "cert"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    key, cert = ((tmp_path / name).read_text() for name in ("key", "cert"))
    quoted = [text.replace("\n", "\\n") for text in (key, cert)]
    (tmp_path / "ssl").write_text(f'server_key: "{quoted[0]}"\nserver_cert: "{quoted[1]}"\n')
    flags = (f"--ssl_config_file={tmp_path / 'ssl'}", f"--grpc_socket_path={tmp_path / 'socket'}")
    with running_engine(tmp_path / "run", model_list(pinned(exported, 1)), *flags) as engine:
        failure(grpc.StatusCode.UNAVAILABLE, lambda: engine.predict(x=ones(1, 2)))
        credentials = grpc.ssl_channel_credentials(cert.encode())
        options = [("grpc.ssl_target_name_override", "localhost")]
        for channel in (
            grpc.secure_channel(f"127.0.0.1:{engine.port}", credentials, options),
            grpc.insecure_channel(f"unix:{tmp_path / 'socket'}"),
        ):
            engine.channel.close()
            engine.use(channel)
            assert list(engine.predict(x=ones(1, 2)).outputs["sum"].float_val) == [2, 2]


BATCHING = """
max_batch_size {{ value: 4 }}
batch_timeout_micros {{ value: {timeout_us} }}
max_enqueued_batches {{ value: 1 }}
num_batch_threads {{ value: 1 }}
allowed_batch_sizes: [2, 4]
"""


def test_requests_are_gathered_into_batches(tmp_path: Path, samples: Path) -> None:
    (tmp_path / "batching").write_text(BATCHING.format(timeout_us=60_000_000))
    (tmp_path / "monitoring").write_text("prometheus_config { enable: true }")
    flags = (
        "--enable_batching",
        f"--batching_parameters_file={tmp_path / 'batching'}",
        f"--monitoring_config_file={tmp_path / 'monitoring'}",
    )
    config = model_list(*(pinned(samples / name, 1, name=name) for name in ("sums", "counter")))
    with running_engine(tmp_path / "run", config, *flags) as engine, ThreadPoolExecutor(4) as clients:
        # No batch of fewer than four rows goes before a minute has passed.
        calls = [clients.submit(engine.predict, "sums", a=ones(1, 2) * i, b=ones(1, 2)) for i in range(4)]
        sums = [list(call.result(WAIT_S / 2).outputs["sum"].float_val) for call in calls]
        assert sums == [[i + 1.0] * 2 for i in range(4)]
        metrics = engine.get(METRICS)[2].decode()
        assert ":tensorflow:serving:batching_session:wrapped_run_count{} 1\n" in metrics
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        message = failure(invalid, lambda: engine.predict("sums", a=ones(5, 2), b=ones(5, 2)))
        assert message == "Task size 5 is larger than maximum input batch size 4"
        message = failure(invalid, lambda: engine.predict("counter", step=np.int64(1)))
        assert message.startswith("Batching Run() input tensors must have at least one dimension")
        # A second batch beside the one that waits would be one too many.
        waiting = clients.submit(engine.predict, "sums", a=ones(3, 2), b=ones(3, 2))
        until(lambda: "input_batch_size_count{} 12" in engine.get(METRICS)[2].decode())
        full = failure(grpc.StatusCode.UNAVAILABLE, lambda: engine.predict("sums", a=ones(2, 2), b=ones(2, 2)))
        assert full.startswith("The batch scheduling queue to which this task was submitted is full")
        engine.predict("sums", a=ones(1, 2), b=ones(1, 2))
        assert len(waiting.result(WAIT_S).outputs["sum"].float_val) == 6


def test_batches_are_padded_to_an_allowed_size(tmp_path: Path, samples: Path) -> None:
    (tmp_path / "batching").write_text(BATCHING.format(timeout_us=0))
    flags = ("--enable_batching", f"--batching_parameters_file={tmp_path / 'batching'}")
    with running_engine(tmp_path / "run", model_list(pinned(samples / "sums", 1, name="sums")), *flags) as engine:
        assert len(engine.predict("sums", a=ones(3, 2), b=ones(3, 2)).outputs["sum"].float_val) == 6
        message = failure(grpc.StatusCode.FAILED_PRECONDITION, lambda: engine.predict("sums", "count", a=ones(3, 2)))
        assert message == "Batched output tensor has 0 dimensions"


def warmed_copy(source: Path, target: Path, *requests: Any) -> None:
    """A copy of a version that brings along these PredictRequests to warm it up."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    shutil.copytree(source, target)
    (target / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(target / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for request in requests:
            log: Any = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())


def test_warm_up_runs_before_a_version_serves_and_fails_its_load(tmp_path: Path, samples: Path) -> None:
    step = predict_request("counter", "", step=np.int64(5))
    wrong = predict_request("counter", "nope", step=np.int64(5))
    warmed_copy(samples / "counter" / "1", tmp_path / "m" / "1", step, step)
    warmed_copy(samples / "counter" / "1", tmp_path / "m" / "2", wrong)
    config = model_list(pinned(tmp_path / "m", 1, name="counter"))
    with running_engine(tmp_path / "run", config, "--num_request_iterations_for_warmup=2") as engine:
        assert engine.predict("counter", step=np.int64(1)).outputs["total"].int64_val == [21]
        engine.reload(pinned(tmp_path / "m", 2, name="counter"))
        until(lambda: engine.states("counter").get(2) == END)
        assert engine.states("counter")[1] == AVAILABLE


def test_the_configuration_file_is_followed_and_labels_may_be_early(tmp_path: Path, exported: Path) -> None:
    flags = ("--model_config_file_poll_wait_seconds=1", "--allow_version_labels_for_unavailable_models")
    with running_engine(tmp_path / "run", model_list(pinned(exported, 1)), *flags) as engine:
        engine.config.write_text("nonsense")
        until(lambda: "is not applied" in engine.log.read_text())
        assert engine.live() == {1: AVAILABLE}
        more = 'version_labels { key: "next" value: 2 }'
        engine.config.write_text(model_list(pinned(exported, 1, 2, more=more)))
        until(lambda: engine.live() == {1: AVAILABLE, 2: AVAILABLE})
        request = predict_request("calc", "", x=content(ones(1, 2)))
        request.model_spec.version_label = "next"
        assert engine.predictions.Predict(request, timeout=WAIT_S).model_spec.version.value == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "INVALID_ARGUMENT: Both server_options.model_base_path and server_options.model_config_file are empty!"),
        (("--batching_parameters_file=/b",), "batching_parameters_file is set without setting"),
        (("--model_base_path=/m", "--port=0"), "Neither --port nor --grpc_socket_path"),
        (("--model_base_path=m",), "Expected model default to have an absolute path or URI"),
        (("--ssl_config_file=/nowhere", "--model_config_file=/dev/null"), "No such file"),
        (
            tuple(f"--tensorflow_{name}_parallelism=1" for name in ("session", "intra_op", "inter_op")),
            "Either tensorflow_session_parallelism or",
        ),
    ],
)
def test_flags_that_make_no_sense_end_the_process(flags: tuple[str, ...], message: str) -> None:
    command = [sys.executable, "-m", "workers.tf.embedded", "--port=1", *flags]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert ended.returncode == 255
    assert ended.stdout.startswith("Failed to start server. Error: ")
    assert message in ended.stdout


def test_version_is_told_without_starting() -> None:
    command = [sys.executable, "-m", "workers.tf.embedded", "--version"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=True)
    assert [line.partition(":")[0] for line in ended.stdout.splitlines()] == [
        "TensorFlow ModelServer",
        "TensorFlow Library",
    ]
