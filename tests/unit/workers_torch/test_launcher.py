"""What the launcher decides before it becomes Java."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.addresses import Ports
from workers.torch import launcher
from workers.torch.launcher import CannotLaunch


def test_the_configuration_is_closed_to_the_outside(tmp_path: Path) -> None:
    ports = Ports(torchserve_inference=1111, torchserve_grpc_management=2222)
    text = launcher.config_properties(ports, tmp_path / "store", tmp_path / "workflows")
    settings = dict(line.split("=", 1) for line in text.splitlines())
    assert settings["inference_address"] == "http://127.0.0.1:1111"
    assert settings["grpc_management_port"] == "2222"
    addresses = [value for name, value in settings.items() if name.endswith("_address")]
    assert len(addresses) == 5
    assert all("127.0.0.1" in address for address in addresses)
    assert settings["disable_token_authorization"] == "false"
    assert "load_models" not in settings


def test_every_port_listens_on_the_one_address_given(tmp_path: Path) -> None:
    text = launcher.config_properties(Ports(), tmp_path / "store", tmp_path / "workflows", "0.0.0.0")
    addresses = [line.split("=", 1)[1] for line in text.splitlines() if line.split("=")[0].endswith("_address")]
    assert len(addresses) == 5
    assert all("0.0.0.0" in address for address in addresses)


def test_a_bad_address_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINSERVE_ENGINE_ADDRESS", "everywhere")
    with pytest.raises(ValueError, match="TWINSERVE_ENGINE_ADDRESS"):
        launcher.launch(tmp_path / "run", tmp_path)
    assert not (tmp_path / "run").exists()


def test_engines_inherit_no_operator_token_and_no_overrides(tmp_path: Path) -> None:
    given = {"TWINSERVE_ADMIN_TOKEN": "secret", "TS_DISABLE_TOKEN_AUTHORIZATION": "true", "LANG": "C"}
    environment = launcher.jvm_environment(given, tmp_path, tmp_path / "tmp")
    assert environment["LANG"] == "C"
    assert environment["TEMP"] == environment["TMPDIR"] == str(tmp_path / "tmp")
    assert environment["MALLOC_TRIM_THRESHOLD_"] == "1000000000"
    assert not {"TWINSERVE_ADMIN_TOKEN", "TS_DISABLE_TOKEN_AUTHORIZATION"} & environment.keys()


def test_the_worker_folder_is_emptied(tmp_path: Path) -> None:
    run_dir = Path("/tmp") / tmp_path.name / "r"  # pytest's own paths may already be too long for sockets
    run_dir.mkdir(parents=True)
    try:
        first = launcher.worker_folder(run_dir)
        (first / "models").mkdir()
        again = launcher.worker_folder(run_dir)
        assert again == first == run_dir / "tmp"
        assert not list(again.iterdir())
    finally:
        shutil.rmtree(run_dir.parent)


def test_a_run_directory_too_long_for_sockets_gets_a_short_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / ("x" * 90)
    run_dir.mkdir()
    first = launcher.worker_folder(run_dir)
    assert str(first) in capsys.readouterr().err
    assert (run_dir / "tmp").resolve() == first.resolve()
    second = launcher.worker_folder(run_dir)
    assert len(str(second / ".ts.sock.65535")) < launcher.SOCKET_PATH_LIMIT_BYTES
    assert not first.exists() or first == second
    second.rmdir()


def test_torchserve_finds_a_kill_where_the_system_has_none(tmp_path: Path) -> None:
    """Without one it cannot end a worker, and so never unloads a version."""
    empty = tmp_path / "empty"
    empty.mkdir()
    path = launcher.path_with_kill(str(empty), tmp_path)
    program = shutil.which("kill", path=path)
    assert program is not None
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as process:
        subprocess.run([program, "-9", str(process.pid)], check=True, env={}, timeout=10)
        assert process.wait(10) == -9
    assert launcher.path_with_kill(path, tmp_path) == path, "one is enough"


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotLaunch, match=rf"port {port} \(TWINSERVE_TORCHSERVE_GRPC_INFERENCE_PORT\)"):
            launcher.require_free(
                Ports(
                    torchserve_inference=free_port(),
                    torchserve_management=free_port(),
                    torchserve_metrics=free_port(),
                    torchserve_grpc_inference=port,
                )
            )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_missing_model_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotLaunch, match=r"model store .* is not a directory"):
        launcher.launch(tmp_path / "run", tmp_path / "nothing")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("cores", "threads"), [(1, "1"), (2, "1"), (4, "1"), (8, "2"), (64, "16")])
def test_a_forward_pass_takes_a_quarter_of_the_cores(cores: int, threads: str) -> None:
    assert launcher.threads(cores) == {"OMP_NUM_THREADS": threads}


def test_the_operator_may_set_the_threads_and_the_engine_never_sees_the_token(tmp_path: Path) -> None:
    given = {"OMP_NUM_THREADS": "3", "TWINSERVE_ADMIN_TOKEN": "secret", "TS_LOAD_MODELS": "all"}
    environment = launcher.jvm_environment(given, tmp_path, tmp_path)
    assert environment["OMP_NUM_THREADS"] == "3"
    assert not {"TWINSERVE_ADMIN_TOKEN", "TS_LOAD_MODELS"} & set(environment)


def test_a_containers_quota_counts_as_its_cores(tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"
    unbounded = launcher.usable_cores(file)
    file.write_text("max 100000\n")
    assert launcher.usable_cores(file) == unbounded >= 1
    file.write_text("150000 100000\n")
    assert launcher.usable_cores(file) == 1


def test_without_a_java_the_command_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr("sys.argv", ["launcher", "--run-dir", str(tmp_path / "run"), "--model-store", str(tmp_path)])
    assert launcher.main() == 1
    assert "TorchServe cannot be started: TorchServe needs Java 17 or newer" in capsys.readouterr().err
