"""Runs this folder's tests of keras in a process that never sees torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FILES = ("test_given_model.py", "test_model.py", "test_train.py")


@pytest.mark.frameworks
def test_keras_in_a_process_of_its_own() -> None:
    here = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-q", *(str(here / name) for name in FILES)]
    environment = os.environ | {"TWINSERVE_TEST_KERAS_PROCESS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
