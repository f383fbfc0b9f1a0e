"""What operators set: flags of the embedded TF server, its metrics, health, transports and warm-up."""

import shutil
import subprocess
import sys
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
        "--num_load_threads=4",
    )
    with running_engine(tmp_path / "run", None, *flags) as engine:
        assert engine.live() == {2: AVAILABLE}
        answer = engine.predict(x=ones(1, 2)).outputs["sum"]
        assert answer.tensor_content == np.full(2, 3, np.float32).tobytes()
        assert engine.post("calc:predict", {"inputs": [[1, 2]]})[0] == 200
        failure(grpc.StatusCode.NOT_FOUND, lambda: engine.predict(model="nope"))
        engine.get("/v1/nonsense")
        assert "--num_load_threads=4 has no effect on this server" in engine.log.read_text()
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


def test_a_health_watch_is_told_at_once_and_when_the_server_stops(tmp_path: Path) -> None:
    flags = ("--enable_grpc_healthcheck_service", "--grpc_max_threads=1")
    with running_engine(tmp_path / "run", "model_config_list {}", *flags) as engine:
        watch: Any = engine.channel.unary_stream("/grpc.health.v1.Health/Watch")
        known = [watch(service, timeout=WAIT_S) for service in (b"", b"\x0a\x11PredictionService")]
        unknown, left = watch(b"\x0a\x01x", timeout=WAIT_S), watch(b"", timeout=WAIT_S)
        first = [next(stream) for stream in (*known, left, unknown)]
        assert first == [b"\x08\x01"] * 3 + [b"\x08\x03"]
        left.cancel()
        # Three watches are open and there is one thread: they do not hold it.
        failure(grpc.StatusCode.NOT_FOUND, lambda: engine.states("nope"))
        engine.process.terminate()
        assert [list(stream) for stream in (*known, unknown)] == [[b"\x08\x02"]] * 2 + [[]]
        assert {stream.code() for stream in (*known, unknown)} == {grpc.StatusCode.OK}


def test_metrics_and_health_are_off_by_default(tmp_path: Path) -> None:
    with running_engine(tmp_path / "run") as engine:
        assert engine.get(METRICS)[0] == 404
        check: Any = engine.channel.unary_unary("/grpc.health.v1.Health/Check")
        failure(grpc.StatusCode.UNIMPLEMENTED, lambda: check(b"", timeout=WAIT_S))


def certificate(folder: Path, name: str) -> tuple[bytes, bytes]:
    """The key and the certificate of `name`, signed with that key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program to make a certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
         "-addext", f"subjectAltName=DNS:{name}", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.cert"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return (folder / f"{name}.key").read_bytes(), (folder / f"{name}.cert").read_bytes()


def text_field(name: str, pem: bytes) -> str:
    return f'{name}: "{pem.decode()}"'.replace("\n", "\\n") + "\n"


def secure(engine: Engine, credentials: grpc.ChannelCredentials) -> None:
    """Have the engine's clients speak TLS to it."""
    engine.channel.close()
    options = [("grpc.ssl_target_name_override", "localhost")]
    engine.use(grpc.secure_channel(f"127.0.0.1:{engine.port}", credentials, options))


def test_a_unix_socket_and_tls(tmp_path: Path, exported: Path) -> None:
    key, cert = certificate(tmp_path, "localhost")
    (tmp_path / "ssl").write_text(text_field("server_key", key) + text_field("server_cert", cert))
    flags = (f"--ssl_config_file={tmp_path / 'ssl'}", f"--grpc_socket_path={tmp_path / 'socket'}")
    with running_engine(tmp_path / "run", model_list(pinned(exported, 1)), *flags) as engine:
        failure(grpc.StatusCode.UNAVAILABLE, lambda: engine.predict(x=ones(1, 2)))
        secure(engine, grpc.ssl_channel_credentials(cert))
        assert list(engine.predict(x=ones(1, 2)).outputs["sum"].float_val) == [2, 2]
        engine.channel.close()
        engine.use(grpc.insecure_channel(f"unix:{tmp_path / 'socket'}"))
        assert list(engine.predict(x=ones(1, 2)).outputs["sum"].float_val) == [2, 2]


def test_with_client_verify_only_clients_of_the_custom_ca_are_served(tmp_path: Path, exported: Path) -> None:
    server_key, server_cert = certificate(tmp_path, "localhost")
    client_key, client_cert = certificate(tmp_path, "client")
    stranger_key, stranger_cert = certificate(tmp_path, "stranger")
    (tmp_path / "ssl").write_text(
        text_field("server_key", server_key)
        + text_field("server_cert", server_cert)
        + text_field("custom_ca", client_cert)
        + "client_verify: true\n"
    )
    flag = f"--ssl_config_file={tmp_path / 'ssl'}"
    with running_engine(tmp_path / "run", model_list(pinned(exported, 1)), flag) as engine:
        for key, cert in ((None, None), (stranger_key, stranger_cert)):
            secure(engine, grpc.ssl_channel_credentials(server_cert, key, cert))
            failure(grpc.StatusCode.UNAVAILABLE, lambda: engine.predict(x=ones(1, 2)))
        secure(engine, grpc.ssl_channel_credentials(server_cert, client_key, client_cert))
        assert list(engine.predict(x=ones(1, 2)).outputs["sum"].float_val) == [2, 2]


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
