"""What becomes of the counts of a gateway process that was killed."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.metrics import MULTIPROCESS_VARIABLE
from gateway.metrics_folder import close_ledger, metrics_folder

# Version 1 has two under way when the process is killed, version 2 none; what comes after the flush nobody learns of.
KILLED = """
import os, signal
from gateway.core.ports import VersionState
from gateway.core.usage import UsageBook
from gateway.metrics import Metrics
metrics = Metrics(UsageBook(), "1.2.3", lambda: {})
for version in (1, 2):
    metrics.version_seen("mnist", version, "torchserve", VersionState.READY)
for _ in range(5):
    metrics.accepted("mnist", 1)
metrics.answered("mnist", 1)
metrics.answered("mnist", 1)
metrics.failed("mnist", 1)
metrics.accepted("mnist", 2)
metrics.answered("mnist", 2)
metrics.in_flight_changed("torchserve", 2)
metrics.flush()
metrics.answered("mnist", 1)
print(os.getpid(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with metrics_folder() as made:
        yield made


def kill_one(folder: Path) -> int:
    """A process that counts and is killed; its pid."""
    environment = {MULTIPROCESS_VARIABLE: str(folder), "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    command = [sys.executable, "-c", KILLED]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == -9, ended.stderr
    return int(ended.stdout)


def ledger(folder: Path, version: int) -> list[float]:
    """Accepted, answered and failed, of all processes."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    labels = {"model": "mnist", "version": str(version)}
    return [
        registry.get_sample_value(f"twinserve_ledger_{name}_total", labels) or 0.0
        for name in ("accepted", "answered", "failed")
    ]


def test_what_a_killed_process_had_under_way_is_failed(folder: Path) -> None:
    pid = kill_one(folder)
    assert ledger(folder, 1) == [5, 2, 1]
    assert close_ledger(folder, pid) == 2
    assert ledger(folder, 1) == [5, 2, 3]
    assert ledger(folder, 2) == [1, 1, 0]


def test_it_is_failed_once_and_of_each_process_by_itself(folder: Path) -> None:
    first, second = kill_one(folder), kill_one(folder)
    assert [close_ledger(folder, first), close_ledger(folder, first)] == [2, 0]
    assert ledger(folder, 1) == [10, 4, 4], "the second is not closed yet"
    assert close_ledger(folder, second) == 2
    assert ledger(folder, 1) == [10, 4, 6]


def test_its_gauges_are_gone(folder: Path) -> None:
    pid = kill_one(folder)
    assert list(folder.glob(f"gauge_live*_{pid}.db"))
    close_ledger(folder, pid)
    assert not list(folder.glob(f"gauge_live*_{pid}.db"))


def test_a_process_that_died_before_it_counted_leaves_nothing(folder: Path) -> None:
    assert close_ledger(folder, 1) == 0
    assert not list(folder.iterdir())


def test_a_file_that_is_damaged_ends_nobody(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    pid = kill_one(folder)
    path = folder / f"counter_{pid}.db"
    path.write_bytes(path.read_bytes()[:8] + b"\xff" * 64)
    assert close_ledger(folder, pid) == 0
    assert f"process {pid}" in caplog.text
