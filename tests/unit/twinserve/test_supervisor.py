"""Children that are tiny Python programs: ready or dead, last words, started again, replaced, stopped by pid."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.platform_process import wait_until
from twinserve.child import ChildPlan
from twinserve.child_life import Limits, State
from twinserve.lifeline import Lifeline
from twinserve.log_file import LogFile
from twinserve.supervisor import StartError, Supervisor

SLEEPER = "import signal; signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
PARENT = (
    "import subprocess, sys, signal\n"
    "worker = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
    "print(worker.pid, flush=True)\n"
    "signal.pause()"
)
IMPATIENT = Limits(
    first_wait_s=0.01, longest_wait_s=0.02, failed_starts=3, settled_s=0, silence_s=0.3, stop_timeout_s=0.5
)
POLITE = (
    "import signal, sys\n"
    "signal.signal(signal.SIGTERM, lambda *_: (print('goodbye', flush=True), sys.exit(0)))\n"
    "print('hello', flush=True)\n"
    "while True: signal.pause()"
)

Probe = Callable[[], bool]


def plan(
    folder: Path, name: str, program: str, is_ready: Probe = lambda: True, is_alive: Probe = lambda: True
) -> ChildPlan:
    return ChildPlan(name, (sys.executable, "-c", program), LogFile(folder / f"{name}.log"), is_alive, is_ready)


class Watched:
    """A supervisor, and what it reported."""

    def __init__(self, lifeline: Lifeline, limits: Limits) -> None:
        self.said: list[str] = []
        self.stop_asked = threading.Event()
        self.supervisor = Supervisor(self.stop_asked, lifeline, self.said.append, limits)

    def tend_until(self, condition: Probe, what: str) -> None:
        def is_so() -> bool:
            self.supervisor.tend()
            return condition()

        wait_until(is_so, 20, f"{what}; reported: {self.said}")


@pytest.fixture
def watched() -> Iterator[Watched]:
    with Lifeline() as lifeline:
        watched = Watched(lifeline, IMPATIENT)
        with watched.supervisor:
            yield watched


def test_ready_ones_are_told_as_they_come_and_all_are_stopped(tmp_path: Path, watched: Watched) -> None:
    ready: list[str] = []
    for name in ("first", "second"):
        watched.supervisor.start(plan(tmp_path, name, SLEEPER))
    pids = [child.run.pid for child in watched.supervisor.children]
    assert watched.supervisor.wait_ready(30, lambda child, _: ready.append(child.name))
    assert ready == ["first", "second"]
    assert all(psutil.pid_exists(pid) for pid in pids)
    watched.supervisor.stop()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_death_before_ready_is_told_with_last_words_and_cause(tmp_path: Path, watched: Watched) -> None:
    program = "raise ModuleNotFoundError(\"No module named 'ts'\")"
    watched.supervisor.start(plan(tmp_path, "engine", program, is_ready=lambda: False))
    with pytest.raises(StartError) as error:
        watched.supervisor.wait_ready(30, lambda *_: None)
    assert "engine died with exit code 1: a package is missing" in str(error.value)
    assert "  | ModuleNotFoundError: No module named 'ts'" in str(error.value)


def test_the_deadline_names_who_is_late_and_its_log(tmp_path: Path, watched: Watched) -> None:
    watched.supervisor.start(plan(tmp_path, "prompt", SLEEPER))
    watched.supervisor.start(plan(tmp_path, "late", SLEEPER, is_ready=lambda: False))
    with pytest.raises(StartError, match=r"late is not ready after 0\.2 s \(its log: .*late\.log\)") as error:
        watched.supervisor.wait_ready(0.2, lambda *_: None)
    assert "prompt" not in str(error.value)


def test_a_stop_ends_the_wait(tmp_path: Path, watched: Watched) -> None:
    watched.supervisor.start(plan(tmp_path, "late", SLEEPER, is_ready=lambda: False))
    threading.Timer(0.1, watched.stop_asked.set).start()
    assert not watched.supervisor.wait_ready(30, lambda *_: None)


def test_a_killed_child_comes_back_as_another_process(tmp_path: Path, watched: Watched) -> None:
    child = watched.supervisor.start(plan(tmp_path, "engine", SLEEPER))
    watched.supervisor.wait_ready(30, lambda *_: None)
    first = child.run.pid
    os.kill(first, signal.SIGKILL)
    watched.tend_until(lambda: child.life.restarts == 1 and child.life.state is State.READY, "it is up again")
    assert child.run.pid != first
    assert child.life.last_cause == "somebody killed it, or the kernel did because memory ran out"
    assert any("engine died with exit code -9" in line for line in watched.said)


def test_a_crash_loop_is_reported_and_left_alone(tmp_path: Path, watched: Watched) -> None:
    marker = tmp_path / "ready-once"
    program = f"import os, signal\nif os.path.exists({str(marker)!r}): raise MemoryError\nsignal.pause()"
    child = watched.supervisor.start(plan(tmp_path, "engine", program, is_alive=lambda: False))
    watched.supervisor.wait_ready(30, lambda *_: None)
    marker.touch()
    os.kill(child.run.pid, signal.SIGKILL)
    watched.tend_until(lambda: child.life.state is State.GAVE_UP, "it is left alone")
    assert child.life.last_cause == "it ran out of memory"
    assert "left alone after 3 failed starts in a row" in watched.said[-1]
    assert not psutil.pid_exists(child.run.pid)


def test_a_hung_child_is_replaced(tmp_path: Path, watched: Watched) -> None:
    child = watched.supervisor.start(plan(tmp_path, "engine", SLEEPER, is_alive=lambda: False))
    watched.supervisor.wait_ready(30, lambda *_: None)
    hung = child.run.pid
    watched.tend_until(lambda: child.run.pid != hung, "it is replaced")
    assert not psutil.pid_exists(hung)
    assert any("engine is replaced: it hung" in line for line in watched.said)


def test_a_child_that_is_replaced_ends_by_itself_and_starts_afresh(tmp_path: Path, watched: Watched) -> None:
    child = watched.supervisor.start(plan(tmp_path, "engine", POLITE))
    watched.supervisor.wait_ready(30, lambda *_: None)
    wait_until(lambda: child.run.log_tail() == ["hello"], 10, "it to listen")
    old, failed = child.run, child.life.failed_starts
    watched.supervisor.replace(child, "it grew")
    assert child.life.state is State.STOPPING
    watched.tend_until(lambda: child.life.state is State.READY, "its successor is up")
    assert old.exit_code == 0, "nobody killed it"
    assert child.run.pid != old.pid
    assert (child.life.restarts, child.life.failed_starts, child.life.last_cause) == (1, failed, "it grew")
    assert "goodbye" in child.plan.log.path.read_text()


def test_a_replaced_child_that_does_not_listen_is_killed_and_holds_nobody_up(
    tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinserve.supervisor.STOP_TIMEOUT_S", 0.2)
    deaf = watched.supervisor.start(plan(tmp_path, "deaf", STUBBORN))
    other = watched.supervisor.start(plan(tmp_path, "other", SLEEPER))
    watched.supervisor.wait_ready(30, lambda *_: None)
    wait_until(lambda: deaf.run.log_tail() == ["deaf"], 10, "it to be deaf")
    old, killed = deaf.run.pid, other.run.pid
    watched.supervisor.replace(deaf, "it grew")
    os.kill(killed, signal.SIGKILL)
    watched.tend_until(lambda: other.run.pid != killed, "the other is started again")
    assert deaf.life.state is State.STOPPING, "meanwhile it still has time"
    watched.tend_until(lambda: deaf.life.restarts == 1 and deaf.life.state is State.READY, "its successor is up")
    assert not psutil.pid_exists(old)
    assert deaf.life.last_cause == "it grew"
    watched.supervisor.stop()  # the successor is as deaf


def test_only_a_ready_child_is_replaced(tmp_path: Path, watched: Watched) -> None:
    child = watched.supervisor.start(plan(tmp_path, "engine", SLEEPER))
    with pytest.raises(ValueError, match="illegal move"):
        watched.supervisor.replace(child, "it grew")
    assert child.run.exit_code is None


def test_workers_of_a_dead_child_go_with_it(tmp_path: Path, watched: Watched) -> None:
    child = watched.supervisor.start(plan(tmp_path, "engine", PARENT))
    wait_until(lambda: child.run.log_tail() != [], 10, "the worker's pid")
    worker = psutil.Process(int(child.run.log_tail()[0]))
    os.kill(child.run.pid, signal.SIGKILL)
    watched.supervisor.stop()
    wait_until(lambda: is_gone(worker), 10, "the worker's end")


def test_who_does_not_listen_is_killed(tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinserve.supervisor.STOP_TIMEOUT_S", 0.2)
    child = watched.supervisor.start(plan(tmp_path, "deaf", STUBBORN))
    wait_until(lambda: child.run.log_tail() == ["deaf"], 10, "it to be deaf")
    watched.supervisor.stop()
    assert not psutil.pid_exists(child.run.pid)


HOLDER = (
    "import subprocess, sys, signal\n"
    "from twinserve.lifeline import Lifeline\n"
    "child = subprocess.Popen([sys.executable, '-c', {program!r}], start_new_session=True, stdout=subprocess.PIPE)\n"
    "worker = int(child.stdout.readline())\n"
    "lifeline = Lifeline()\n"
    "lifeline.hold(child.pid)\n"
    "print(child.pid, worker, lifeline.pid, flush=True)\n"
    "signal.pause()"
)


def test_children_and_their_workers_die_with_a_killed_supervisor() -> None:
    program = [sys.executable, "-c", HOLDER.format(program=PARENT)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        family = [psutil.Process(int(pid)) for pid in holder.stdout.readline().split()]
        assert len(family) == 3
        holder.kill()
        wait_until(lambda: all(map(is_gone, family)), 20, f"the end of {family}")


def test_a_killed_lifeline_is_mended(tmp_path: Path) -> None:
    with Lifeline() as lifeline:
        first = lifeline.pid
        os.kill(first, signal.SIGKILL)
        psutil.Process(first).wait(10)
        lifeline.hold(12345)  # into the broken pipe
        lifeline.mend()
        assert lifeline.pid != first
        lifeline.release(12345)


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
