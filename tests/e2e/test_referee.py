"""`python -m loadtest.referee` against a real platform: MLPerf's LoadGen asks, every answer is right."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.referee.loadgen import NoLoadGen, import_loadgen
from loadtest.referee.results import LABEL
from loadtest.referee.scenarios import Scenario
from tests.platform_process import wait_until
from tests.served_platform import ServedPlatform

pytestmark = pytest.mark.engines


@pytest.fixture(autouse=True)
def _needs_loadgen() -> None:
    try:
        import_loadgen()
    except NoLoadGen as missing:
        pytest.skip(str(missing))


def start(platform: ServedPlatform, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "loadtest.referee", "--url", platform.url, "--json", *arguments]
    environment = {**os.environ, "TWINSERVE_REPOSITORY": str(platform.repository)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_all_scenarios_end_with_a_verdict_and_right_answers(platform: ServedPlatform, tmp_path: Path) -> None:
    before = platform.ledger()
    # LoadGen wants 459 queries at least to be sure of a p99.
    process = start(platform, "--duration-s", "3", "--slo-ms", "1000", "--rate", "200", "--out", str(tmp_path))
    said, errors = process.communicate(timeout=180)
    assert process.returncode in (0, 1), errors
    report = json.loads(said)
    assert report["label"] == LABEL
    assert [ruling["scenario"] for ruling in report["rulings"]] == list(Scenario)
    for ruling in report["rulings"]:
        answers = ruling["answers"]
        assert answers["right"] == answers["asked"] > 20, ruling
        assert ruling["latency_ms"]["p50"] > 0
        assert (tmp_path / ruling["logs"] / "mlperf_log_summary.txt").stat().st_size > 100
    by_name = {ruling["scenario"]: ruling for ruling in report["rulings"]}
    assert by_name["Server"]["is_valid"], by_name["Server"]
    asked = sum(ruling["answers"]["asked"] for ruling in report["rulings"])
    assert platform.ledger()["answered"] - before["answered"] >= asked


def test_ctrl_c_keeps_the_scenarios_that_were_whole(platform: ServedPlatform, tmp_path: Path) -> None:
    process = start(platform, "--duration-s", "2", "--out", str(tmp_path))
    lines: list[str] = []

    def has_begun_the_second() -> bool:
        assert process.stderr
        lines.append(process.stderr.readline())
        return lines[-1].startswith("2/4")

    wait_until(has_begun_the_second, 60, "the second scenario has begun")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    report = json.loads(said)
    assert report["is_interrupted"]
    assert [ruling["scenario"] for ruling in report["rulings"]] == ["SingleStream"]
    assert json.loads((tmp_path / "referee.json").read_text()) == report
