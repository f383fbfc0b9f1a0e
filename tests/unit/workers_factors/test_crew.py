"""Processes that train together, without a framework: who fails ends all, and nothing listens beyond loopback."""

import time
from pathlib import Path

import pytest

from workers.factors import ranks
from workers.factors.crew import CrewFailed, run_crew
from workers.factors.isolation import why_not_isolated
from workers.factors.task import Task

WAITING = "import sys, signal\nprint('x' * 200_000, file=sys.stderr)\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "a_rank.py"


def task_of(folder: Path) -> Task:
    return Task(folder / "weights", folder, 0.0, is_quick=True)


def test_the_first_that_fails_ends_all_and_its_reason_is_told(module: Path, tmp_path: Path) -> None:
    fails = "if sys.argv[1] == '1': sys.exit('address in use')\nsignal.pause()\n"
    module.write_text(WAITING + fails)
    started = time.monotonic()
    with pytest.raises(CrewFailed, match="process 1 of 2 ended with 1: address in use"):
        run_crew("a_rank", 2, 1, 1, tmp_path / "folder", timeout_s=60.0)
    assert time.monotonic() - started < 30


def test_who_writes_much_to_stderr_is_not_stopped_by_it(module: Path, tmp_path: Path) -> None:
    module.write_text(WAITING + "print('a line')\nprint(12.5)\n")
    assert run_crew("a_rank", 2, 1, 1, tmp_path / "folder", timeout_s=60.0) == 12.5


def test_who_never_ends_is_ended(module: Path, tmp_path: Path) -> None:
    module.write_text(WAITING + "signal.pause()\n")
    with pytest.raises(CrewFailed, match=r"did not end in 0\.2 s"):
        run_crew("a_rank", 2, 1, 1, tmp_path / "folder", timeout_s=0.2)


def test_two_processes_have_a_network_of_their_own_or_do_not_run(module: Path, tmp_path: Path) -> None:
    if refusal := why_not_isolated():
        pytest.skip(f"no network namespaces here: {refusal}")
    names = "import socket\nnames = sorted(name for _, name in socket.if_nameindex())\n"
    listens = "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); socket.create_connection(s.getsockname())\n"
    reaches = "try: socket.create_connection(('192.0.2.1', 80), 5)\nexcept OSError as e: print(e.errno)\n"
    module.write_text(names + listens + reaches)
    assert ranks.run_isolated_crew("a_rank", 2, 1, 1, tmp_path / "folder") == 101  # ENETUNREACH


def test_without_such_a_network_there_is_a_reason_instead(
    module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module.write_text("print(100.0)\n")
    monkeypatch.setattr(ranks, "why_not_isolated", lambda: "Operation not permitted")
    found = {finding.what: finding for finding in ranks.measure_ranks(task_of(tmp_path), "a_rank", "by gRPC")}
    assert found["1 process of 1 thread"].value == 100.0
    assert "by gRPC" not in found["1 process of 2 threads"].how
    assert "Operation not permitted" in found["2 processes of 1 thread"].why_not
    assert "by gRPC" in found["2 processes of 1 thread"].how
    assert "speed-up of the second process" not in found
