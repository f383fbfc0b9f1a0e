"""`python -m loadtest.referee` against a real platform: MLPerf's LoadGen asks, every answer is right."""

import json
import os
import signal
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from loadtest.referee.loadgen import NoLoadGen, import_loadgen
from loadtest.referee.results import LABEL
from loadtest.referee.scenarios import Scenario
from tests.served_platform import ServedPlatform
from tests.watched_process import WatchedProcess, watched

pytestmark = pytest.mark.engines


@pytest.fixture(autouse=True)
def _needs_loadgen() -> None:
    try:
        import_loadgen()
    except NoLoadGen as missing:
        pytest.skip(str(missing))


def run(platform: ServedPlatform, *arguments: str) -> AbstractContextManager[WatchedProcess]:
    command = [sys.executable, "-m", "loadtest.referee", "--url", platform.url, "--json", *arguments]
    return watched(command, {**os.environ, "TWINSERVE_REPOSITORY": str(platform.repository)})


def test_all_scenarios_end_with_a_verdict_and_right_answers(platform: ServedPlatform, tmp_path: Path) -> None:
    before = platform.ledger()
    # LoadGen wants 459 queries at least to be sure of a p99.
    with run(platform, "--duration-s", "3", "--slo-ms", "5000", "--rate", "200", "--out", str(tmp_path)) as running:
        said = running.wait(180)
    assert running.process.returncode in (0, 1), running.errors
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
    with run(platform, "--duration-s", "2", "--out", str(tmp_path)) as running:
        running.wait_for_error_line("2/4", 60)
        running.process.send_signal(signal.SIGINT)
        said = running.wait(60)
    assert running.process.returncode == 130
    report = json.loads(said)
    assert report["is_interrupted"]
    assert [ruling["scenario"] for ruling in report["rulings"]] == ["SingleStream"]
    assert json.loads((tmp_path / "referee.json").read_text()) == report
