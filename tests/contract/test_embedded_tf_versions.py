"""The embedded TF server over time: versions that come and go, labels, reloads, start and end of the process."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.embedded_server import (
    AVAILABLE,
    END,
    WAIT_S,
    Engine,
    calc_model,
    failure,
    pinned,
    predict_request,
    running_engine,
    until,
)
from tests.ports import free_port

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return calc_model(tmp_path_factory)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running_engine(tmp_path_factory.mktemp("run")) as engine:
        yield engine


@pytest.fixture
def engine(running: Engine, exported: Path) -> Engine:
    """The server with version 1, and only it, being served."""
    running.reload(pinned(exported, 1))
    until(lambda: running.live() == {1: AVAILABLE})
    return running


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
