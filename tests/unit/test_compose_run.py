"""`make compose-test` where there is no Docker engine: it says why, and is no failure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = "#!/bin/sh\necho the script runs\nexit {code}\n"


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    nobody = {"DOCKER_HOST": f"unix://{folder}/nobody.sock", "TWINSERVE_ENGINE_UP": ""}
    command = [sys.executable, "-m", "tests.compose_run"]
    return subprocess.run(
        command, env={**os.environ, **nobody, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def test_without_an_engine_it_is_skipped_with_the_reason(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("compose-test: SKIPPED: ")
    assert "no Docker engine answers" in done.stdout or "there is no docker command" in done.stdout


@pytest.mark.parametrize("code", [0, 1])
def test_the_script_that_is_named_is_tried(tmp_path: Path, code: int) -> None:
    script = tmp_path / "engine-up"
    script.write_text(SCRIPT.format(code=code))
    script.chmod(0o755)
    done = run(tmp_path, TWINSERVE_ENGINE_UP=str(script))
    assert done.returncode == 0
    assert "the script runs" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("compose-test: SKIPPED: ")
    assert ("did not help" in last) == (code == 1)
