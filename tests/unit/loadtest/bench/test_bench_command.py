"""The whole command with real servers: one small comparison to its end, and one that is interrupted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from loadtest.bench.comparisons import COMPARISONS
from loadtest.bench.results import Report

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
def test_a_comparison_runs_to_its_end_and_an_interrupted_one_leaves_its_figures(tmp_path: Path) -> None:
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

    process = subprocess.Popen([*command, "--pairs", "50"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert any(line.startswith("[3/") for line in lines)
        assert named(home) != [process.pid]
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=RUN_TIMEOUT_S)
    finally:
        process.terminate()
        process.wait(RUN_TIMEOUT_S)
    assert process.returncode == 130
    report = msgspec.json.decode(file.read_bytes(), type=Report)
    assert report.is_interrupted
    assert len(report.comparisons[0].spread.values) == 1
    assert "Interrupted" in said
    assert named(home) == []
