"""Programs that tests start: none outlives its test, and nobody waits for one that has ended."""

import sys
import time

import pytest

from tests.watched_process import watched

SILENT = "import threading; threading.Event().wait()"
DEAF = f"import signal, sys; signal.signal(15, signal.SIG_IGN); print('ready', file=sys.stderr, flush=True); {SILENT}"
REFUSING = "import sys; print('no such model', file=sys.stderr); sys.exit(3)"
TALKING = "import sys; [print('x' * 1000, file=stream) for stream in (sys.stderr, sys.stdout) for _ in range(1000)]"


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_who_has_ended_is_not_waited_for() -> None:
    began_at = time.monotonic()
    with watched(python(REFUSING)) as running, pytest.raises(AssertionError, match="ended with 3:\nno such model"):
        running.wait_for_error_line("ready", 600)
    assert time.monotonic() - began_at < 60


def test_a_line_that_does_not_come_is_not_waited_for_beyond_the_deadline() -> None:
    with watched(python(SILENT)) as running, pytest.raises(AssertionError, match=r"not within 0\.1 s"):
        running.wait_for_error_line("ready", 0.1)
    assert running.process.returncode == -15


def test_a_test_that_fails_leaves_nothing_behind() -> None:
    with pytest.raises(ZeroDivisionError), watched(python(DEAF), stop_timeout_s=0.2) as running:  # noqa: PT012
        running.wait_for_error_line("ready", 60)
        running.check_running()
        raise ZeroDivisionError
    assert running.process.returncode == -9


def test_who_says_much_is_not_held_up() -> None:
    with watched(python(TALKING)) as running:
        assert len(running.wait(60)) == 1_001_000
