"""Runs this folder's tests of torch in a process that never sees tensorflow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FILES = ("test_handler.py", "test_train.py")


@pytest.mark.frameworks
def test_torch_in_a_process_of_its_own() -> None:
    here = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-q", *(str(here / name) for name in FILES)]
    # Threads that wait for each other do not spin meanwhile: other tests want the cores.
    environment = os.environ | {"TWINSERVE_TEST_TORCH_PROCESS": "1", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
