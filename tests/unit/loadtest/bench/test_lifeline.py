"""What a process holds dies with it."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from loadtest.bench.lifeline import Lifeline
from tests.platform_process import wait_until

TIMEOUT_S = 30
SLEEPER = [sys.executable, "-c", "import signal; signal.pause()"]
HOLDER = f"""
import signal, subprocess
from loadtest.bench.lifeline import Lifeline
with Lifeline() as lifeline:
    child = subprocess.Popen({SLEEPER!r}, start_new_session=True)
    lifeline.hold(child.pid)
    print(child.pid, flush=True)
    signal.pause()
"""


def has_ended(process: psutil.Process) -> bool:
    """Gone, or waiting for its parent to notice."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEPER, start_new_session=True) as process:
        yield process
        process.kill()


def test_what_is_held_is_killed_when_its_holder_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        child = psutil.Process(int(holder.stdout.readline()))
        holder.send_signal(signal.SIGKILL)
        wait_until(lambda: has_ended(child), TIMEOUT_S, "the child that was held is gone")


def test_what_was_released_lives_on(sleeper: subprocess.Popen[bytes]) -> None:
    with Lifeline() as lifeline, lifeline.holding(sleeper.pid):
        pass
    assert sleeper.poll() is None


def test_what_could_not_be_stopped_is_killed_at_the_end(sleeper: subprocess.Popen[bytes]) -> None:
    with Lifeline() as lifeline:
        lifeline.hold(sleeper.pid)
    assert sleeper.wait(TIMEOUT_S) == -signal.SIGKILL
