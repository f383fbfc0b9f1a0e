"""`make compose-test` where it cannot run: no failure where nothing could bring a Docker engine up, else one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = "#!/bin/sh\necho the script runs\nexit {code}\n"
# An engine that answers, and has neither the base image nor a way to it.
BARE_ENGINE = '#!/bin/sh\ncase "$1" in version | compose) echo 27 ;; *) echo "no route to host" >&2; exit 1 ;; esac\n'


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    nobody = {"DOCKER_HOST": f"unix://{folder}/nobody.sock", "TWINSERVE_ENGINE_UP": ""}
    command = [sys.executable, "-m", "tests.composed.run"]
    return subprocess.run(
        command, env={**os.environ, **nobody, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_without_an_engine_it_is_skipped_with_the_reason(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("compose-test: SKIPPED: ")
    assert "no Docker engine answers" in done.stdout or "there is no docker command" in done.stdout


@pytest.mark.parametrize(("code", "said"), [(0, "has run"), (1, "did not help")])
@pytest.mark.long
def test_a_script_that_brings_up_no_engine_is_a_failure(tmp_path: Path, code: int, said: str) -> None:
    script = program(tmp_path / "engine-up", SCRIPT.format(code=code))
    done = run(tmp_path, TWINSERVE_ENGINE_UP=str(script))
    assert done.returncode == 1
    assert "the script runs" in done.stdout
    assert "SKIPPED" not in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("compose-test: FAILED: ")
    assert said in last
    assert str(script) in last


def test_a_script_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    done = run(tmp_path, TWINSERVE_ENGINE_UP=str(tmp_path / "nothing"))
    assert done.returncode == 1
    assert "No such file" in done.stdout.splitlines()[-1]


def test_an_engine_that_lacks_the_base_image_is_a_failure(tmp_path: Path) -> None:
    docker = program(tmp_path / "bin" / "docker", BARE_ENGINE)
    done = run(tmp_path, PATH=f"{docker.parent}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last.startswith("compose-test: FAILED: the base image ")
    assert last.endswith("is not here: no route to host")
