"""`twinserve loadtest` when it cannot run: it says why, and ends with 2. When it is interrupted it ends with 130."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.platform_process import wait_until
from tests.ports import free_port
from twinserve.cli import app
from twinserve.loadtest_command import SUMMARY, TEXT, Scenario


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TWINSERVE_URL", f"127.0.0.1:{free_port()}")


def test_no_gateway() -> None:
    result = CliRunner().invoke(app, ["loadtest", "steady", "--quick"])
    assert result.exit_code == 2
    assert "nothing answers at" in result.output
    document = json.loads(CliRunner().invoke(app, ["loadtest", "steady", "--json"]).stdout)
    assert "nothing answers at" in document["error"]


def test_no_locust(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def find(name: str, *rest: Any) -> Any:
        return None if name == "locust" else found(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    result = CliRunner().invoke(app, ["loadtest", "steady"])
    assert result.exit_code == 2
    assert "needs Locust: pip install" in result.output


def test_one_loop_only() -> None:
    result = CliRunner().invoke(app, ["loadtest", "steady", "--rate", "5", "--users", "5"])
    assert result.exit_code == 2
    assert "not both" in result.output


def test_an_engine_is_killed_only_when_that_is_meant() -> None:
    result = CliRunner().invoke(app, ["loadtest", "engine-kill", "--kill", "torchserve"])
    assert result.exit_code == 2
    assert "engine-kill ends torchserve of the platform in" in result.output
    assert "--yes" in result.output


def test_the_help_tells_every_scenario_and_exit_code() -> None:
    text = CliRunner().invoke(app, ["loadtest", "--help"], terminal_width=200).output
    assert all(f"{scenario.value}:" in text for scenario in Scenario)
    assert "Exit code 0" in text
    assert "130" in text


def test_processes_here_or_workers_elsewhere() -> None:
    result = CliRunner().invoke(app, ["loadtest", "steady", "--processes", "2", "--workers", "2"])
    assert result.exit_code == 2
    assert "not both" in result.output


# Writes what it is told to at Ctrl-C, and says when it listens for it.
STAND_IN = """
import pathlib, signal, sys
folder, *files = sys.argv[1:]
def end(*_):
    for name, text in zip(files[::2], files[1::2]):
        (pathlib.Path(folder) / name).write_text(text)
    sys.exit(130)
signal.signal(signal.SIGINT, end)
(pathlib.Path(folder) / "started").touch()
signal.pause()
"""


@pytest.mark.parametrize(
    ("files", "out", "err"),
    [
        ((SUMMARY, "{}", TEXT, "interrupted\n"), "interrupted\nresults   results\n", ""),
        ((), "", "twinserve: interrupted before there were results\n"),
    ],
)
def test_ctrl_c_tells_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: tuple[str, ...], out: str, err: str
) -> None:
    command = [sys.executable, "-c", STAND_IN, str(tmp_path / "results"), *files]
    monkeypatch.setattr("twinserve.loadtest_command.locust_command", lambda *_: command)
    monkeypatch.setattr("twinserve.loadtest_command._find_target", lambda *_: "http://nowhere")
    before = signal.getsignal(signal.SIGINT)

    def press_ctrl_c() -> None:
        wait_until((tmp_path / "results" / "started").exists, 30, "the load has begun")
        wait_until(lambda: signal.getsignal(signal.SIGINT) is not before, 30, "the signal is expected")
        os.kill(os.getpid(), signal.SIGINT)

    finger = threading.Thread(target=press_ctrl_c)
    finger.start()
    told = CliRunner().invoke(app, ["loadtest", "steady", "--out", "results"])
    finger.join(30)
    assert (told.exit_code, told.stdout, told.stderr) == (130, out, err)


@pytest.mark.long
def test_locust_itself_prints_nothing_at_ctrl_c() -> None:
    program = (
        "import os, signal, gevent; from loadtest.scenarios.run import register; register()\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "gevent.spawn_later(0.1, os.kill, os.getpid(), signal.SIGINT)\n"
        "try:\n    gevent.sleep(30)\nexcept KeyboardInterrupt:\n    print('ended')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")
