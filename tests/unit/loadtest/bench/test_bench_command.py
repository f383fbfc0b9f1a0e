"""The whole command with real servers: one small comparison to its end, one interrupted, one killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil
import pytest

from loadtest.bench.comparisons import COMPARISONS
from loadtest.bench.results import Report
from tests.platform_process import wait_until

COMMAND = [sys.executable, "-m", "loadtest.bench"]
RUN_TIMEOUT_S = 400


def named(home: Path) -> list[int]:
    """Processes whose command line or environment names the folder: all that a bench with this home has started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and any(
                str(home) in word for word in (*process.cmdline(), *process.environ().values())
            ):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@contextmanager
def begun(command: list[str], home: Path) -> Iterator[subprocess.Popen[str]]:
    """The command once it has measured two runs and begun the third."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert any(line.startswith("[3/") for line in iter(process.stderr.readline, ""))
        assert named(home) != [process.pid]
        yield process
    finally:
        process.terminate()
        process.wait(RUN_TIMEOUT_S)


def test_help_names_every_comparison() -> None:
    said = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert all(comparison.name in said for comparison in COMPARISONS)


def test_an_unknown_comparison_is_refused_before_anything_starts(tmp_path: Path) -> None:
    command = [*COMMAND, "--home", str(tmp_path / "bench"), "--only", "torchserve-65"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "torchserve-65" in done.stderr
    assert not (tmp_path / "bench").exists()


@pytest.mark.engines
@pytest.mark.timeout(2 * RUN_TIMEOUT_S)
def test_a_comparison_leaves_its_figures_interrupted_or_not_and_no_process_even_when_killed(tmp_path: Path) -> None:
    home, file = tmp_path / "bench", tmp_path / "figures.json"
    command = [
        *COMMAND,
        "--quick",
        "--seconds",
        "1",
        "--only",
        "in-process-64",
        "--home",
        str(home),
        "--json",
        str(file),
    ]
    done = subprocess.run(
        [*command, "--pairs", "2"], capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    report = msgspec.json.decode(file.read_bytes(), type=Report)
    (result,) = report.comparisons
    assert len(result.spread.values) == 2
    assert result.spread.middle is not None
    assert result.spread.middle > 0
    for run in report.runs:
        assert run.figures.checked > 0
        assert (run.figures.errors, run.figures.wrong) == (0, 0), run.figures.faults
        assert sum(run.figures.cpu_s.values()) > 0
        assert sum(run.figures.resident_bytes.values()) > 50e6
    assert "| in-process-64 |" in done.stdout
    assert named(home) == []

    with begun([*command, "--pairs", "50"], home) as process:
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=RUN_TIMEOUT_S)
    assert process.returncode == 130
    report = msgspec.json.decode(file.read_bytes(), type=Report)
    assert report.is_interrupted
    assert len(report.comparisons[0].spread.values) == 1
    assert "Interrupted" in said
    assert named(home) == []

    with begun([*command, "--pairs", "50"], home) as process:
        process.kill()
    wait_until(lambda: named(home) == [], 30, "whatever a killed bench had started is gone")
    assert msgspec.json.decode(file.read_bytes(), type=Report) == report
