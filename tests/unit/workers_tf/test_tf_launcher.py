"""The launcher: what it starts, and that it stays light."""

import subprocess
import sys
from pathlib import Path

import pytest

from contracts.addresses import Ports
from workers.tf import launcher


def test_both_implementations_get_the_same_flags(tmp_path: Path) -> None:
    ports = Ports(tfserving_grpc=1234, tfserving_rest=1235)
    official = launcher.command(launcher.OFFICIAL, ports, tmp_path / "c")
    embedded = launcher.command(launcher.EMBEDDED, ports, tmp_path / "c")
    assert official[0] == "tensorflow_model_server"
    assert embedded[:3] == [sys.executable, "-m", "workers.tf.embedded"]
    assert official[1:] == embedded[3:]
    assert {"--port=1234", "--rest_api_port=1235", f"--model_config_file={tmp_path / 'c'}"} < set(official)


def test_only_the_embedded_server_can_be_told_an_address(tmp_path: Path) -> None:
    official = launcher.command(launcher.OFFICIAL, Ports(), tmp_path / "c", "0.0.0.0")
    embedded = launcher.command(launcher.EMBEDDED, Ports(), tmp_path / "c", "0.0.0.0")
    assert set(embedded[3:]) - set(official) == {"--bind_address=0.0.0.0"}


def test_the_address_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr("os.execvpe", lambda program, arguments, environment: started.append(arguments))
    environment = {"TWINSERVE_ENGINE_ADDRESS": "0.0.0.0"}
    launcher.launch(["--run-dir", str(tmp_path), "--implementation", "embedded"], environment)
    assert "--bind_address=0.0.0.0" in started[0]


def test_it_writes_its_files_and_becomes_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setattr("os.execvpe", lambda *call: started.append(call))
    environment = {"TWINSERVE_TFSERVING_GRPC_PORT": "4321", "OTHER": "kept"}
    launcher.launch(["--run-dir", str(tmp_path / "run"), "--implementation", "tensorflow_model_server"], environment)
    ((program, arguments, passed),) = started
    assert program == arguments[0] == "tensorflow_model_server"
    assert "--port=4321" in arguments
    assert passed == environment
    assert (tmp_path / "run" / launcher.CONFIG_NAME).read_text() == "model_config_list {}\n"
    monitoring = tmp_path / "run" / launcher.MONITORING_NAME
    assert f"--monitoring_config_file={monitoring}" in arguments
    assert monitoring.read_text() == 'prometheus_config { enable: true, path: "/monitoring/prometheus/metrics" }\n'


def test_a_missing_binary_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="tensorflow_model_server is not on PATH"):
        launcher.launch(["--run-dir", str(tmp_path), "--implementation", "tensorflow_model_server"], {"PATH": ""})


def test_a_bad_port_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="TWINSERVE_TFSERVING_REST_PORT"):
        launcher.launch(
            ["--run-dir", str(tmp_path), "--implementation", "embedded"], {"TWINSERVE_TFSERVING_REST_PORT": "no"}
        )


@pytest.mark.parametrize(
    "modules",
    [
        "workers.tf.launcher",
        "workers.tf.embedded.__main__, workers.tf.embedded.reload, workers.tf.embedded.signatures, "
        "contracts.tfserving_rest.routes",
    ],
)
def test_what_decides_imports_no_tensorflow(modules: str) -> None:
    code = f"import sys, {modules}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("argument", ["--help", "--port=x", "--shape_check=perhaps"])
def test_bad_flags_print_the_usage_and_exit_255(argument: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workers.tf.embedded", argument], capture_output=True, text=True, check=False
    )
    assert done.returncode == 255
    assert "usage: python -m workers.tf.embedded" in done.stdout
