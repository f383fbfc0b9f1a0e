"""Children that are tiny Python programs: ready or dead, last words, stopped by pid."""

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.platform_process import wait_until
from twinserve.child import ChildPlan
from twinserve.supervisor import StartError, Supervisor

SLEEPER = "import signal; signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
PARENT = (
    "import subprocess, sys, signal\n"
    "worker = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
    "print(worker.pid, flush=True)\n"
    "signal.pause()"
)


def plan(folder: Path, name: str, program: str, is_ready: Callable[[], bool] = lambda: True) -> ChildPlan:
    return ChildPlan(name, (sys.executable, "-c", program), folder / f"{name}.log", is_ready)


@pytest.fixture
def stop_asked() -> threading.Event:
    return threading.Event()


def test_ready_ones_are_told_as_they_come_and_all_are_stopped(tmp_path: Path, stop_asked: threading.Event) -> None:
    ready: list[str] = []
    with Supervisor(stop_asked) as supervisor:
        for name in ("first", "second"):
            supervisor.start(plan(tmp_path, name, SLEEPER))
        pids = [child.pid for child in supervisor.children]
        assert supervisor.wait_ready(30, lambda child, _: ready.append(child.name))
        assert ready == ["first", "second"]
        assert all(psutil.pid_exists(pid) for pid in pids)
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_death_before_ready_is_told_with_last_words_and_cause(tmp_path: Path, stop_asked: threading.Event) -> None:
    with Supervisor(stop_asked) as supervisor:
        supervisor.start(plan(tmp_path, "engine", "raise ModuleNotFoundError(\"No module named 'ts'\")", lambda: False))
        with pytest.raises(StartError) as error:
            supervisor.wait_ready(30, lambda *_: None)
    assert "engine died with exit code 1: a package is missing" in str(error.value)
    assert "  | ModuleNotFoundError: No module named 'ts'" in str(error.value)


def test_the_deadline_names_who_is_late_and_its_log(tmp_path: Path, stop_asked: threading.Event) -> None:
    with Supervisor(stop_asked) as supervisor:
        supervisor.start(plan(tmp_path, "prompt", SLEEPER))
        supervisor.start(plan(tmp_path, "late", SLEEPER, lambda: False))
        with pytest.raises(StartError, match=r"late is not ready after 0\.2 s \(its log: .*late\.log\)") as error:
            supervisor.wait_ready(0.2, lambda *_: None)
    assert "prompt" not in str(error.value)


def test_a_stop_ends_the_wait(tmp_path: Path, stop_asked: threading.Event) -> None:
    with Supervisor(stop_asked) as supervisor:
        supervisor.start(plan(tmp_path, "late", SLEEPER, lambda: False))
        threading.Timer(0.1, stop_asked.set).start()
        assert not supervisor.wait_ready(30, lambda *_: None)


def test_a_kill_is_reported_once(tmp_path: Path, stop_asked: threading.Event) -> None:
    with Supervisor(stop_asked) as supervisor:
        child = supervisor.start(plan(tmp_path, "engine", SLEEPER))
        psutil.Process(child.pid).send_signal(signal.SIGKILL)
        wait_until(lambda: child.exit_code is not None, 10, "its end")
        [death] = supervisor.deaths()
        assert (death.name, death.exit_code) == ("engine", -9)
        assert death.cause == "somebody killed it, or the kernel did because memory ran out"
        assert supervisor.deaths() == []


def test_workers_of_a_dead_child_go_with_it(tmp_path: Path, stop_asked: threading.Event) -> None:
    with Supervisor(stop_asked) as supervisor:
        child = supervisor.start(plan(tmp_path, "engine", PARENT))
        wait_until(lambda: child.log_tail() != [], 10, "the worker's pid")
        worker = psutil.Process(int(child.log_tail()[0]))
        psutil.Process(child.pid).send_signal(signal.SIGKILL)
    wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, 10, "the worker's end")


def test_who_does_not_listen_is_killed(
    tmp_path: Path, stop_asked: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinserve.supervisor.STOP_TIMEOUT_S", 0.2)
    with Supervisor(stop_asked) as supervisor:
        child = supervisor.start(plan(tmp_path, "deaf", STUBBORN))
        wait_until(lambda: child.log_tail() == ["deaf"], 10, "it to be deaf")
    assert not psutil.pid_exists(child.pid)
