"""The check that nothing outlives a killed platform: it must notice what does."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.platform_process import is_alive, kill_with_family

# A child in a session of its own, which ends with its parent only if it reads from it until the end.
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""
FAITHFUL = "import sys; sys.stdin.read()"
SURVIVOR = "import signal; signal.pause()"


@contextmanager
def parent_of(program: str) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-c", PARENT, program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_who_ends_with_it_is_told() -> None:
    with parent_of(FAITHFUL) as process:
        [child] = kill_with_family(process)
        assert process.returncode == -9
        assert not is_alive(child)


@pytest.mark.long
def test_who_outlives_it_is_an_error_and_is_killed() -> None:
    with parent_of(SURVIVOR) as process:
        [child] = psutil.Process(process.pid).children()
        with pytest.raises(AssertionError, match=rf"pid={child.pid}\b.* ended with {process.pid}"):
            kill_with_family(process, timeout_s=0.3)
        child.wait(10)
