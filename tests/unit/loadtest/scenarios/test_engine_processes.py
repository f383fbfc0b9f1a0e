"""Only a process that the state file names, that is still the same and ours, is ever killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from loadtest.scenarios.engine_processes import STATE_FILE, CannotKill, find_engine, kill_engine

URL = "http://127.0.0.1:8000"


@pytest.fixture
def engine() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    yield process
    process.kill()
    process.wait()


def write_state(home: Path, pid: int, **changed: Any) -> None:
    child: dict[str, Any] = {"name": "tfserving", "state": "ready", "pid": pid, "container": None}
    child["started_at"] = psutil.Process(pid).create_time()
    document = {"pid": os.getpid(), "url": URL, "children": [child | changed]}
    (home / STATE_FILE).write_bytes(msgspec.json.encode(document))


def test_the_process_it_names_is_killed(tmp_path: Path, engine: "subprocess.Popen[bytes]") -> None:
    write_state(tmp_path, engine.pid)
    kill_engine(find_engine(tmp_path, "http://localhost:8000", "tfserving"))
    assert engine.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("url", "name", "changed", "said"),
    [
        ("http://127.0.0.1:9000", "tfserving", {}, "answers at http://127.0.0.1:8000"),
        ("http://elsewhere:8000", "tfserving", {}, "its engines are not those asked"),
        (URL, "torchserve", {}, "runs no torchserve"),
        (URL, "tfserving", {"container": "twinserve-tf"}, "runs in the container twinserve-tf"),
        (URL, "tfserving", {"started_at": 1000.0}, "is no longer tfserving's"),
        (URL, "tfserving", {"state": "starting"}, "is not ready"),
    ],
)
def test_no_other_process_is(
    tmp_path: Path, engine: "subprocess.Popen[bytes]", url: str, name: str, changed: dict[str, Any], said: str
) -> None:
    write_state(tmp_path, engine.pid, **changed)
    with pytest.raises(CannotKill, match=said):
        kill_engine(find_engine(tmp_path, url, name))
    assert engine.poll() is None


def test_no_platform_here(tmp_path: Path) -> None:
    with pytest.raises(CannotKill, match="no platform of yours runs from"):
        find_engine(tmp_path, URL, "tfserving")
