"""`twinserve loadtest` against a real platform: every scenario, a stall that must be seen, and what makes it fail."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.platform_process import Platform, wait_until
from tests.served_platform import ServedPlatform

pytestmark = [
    pytest.mark.engines,
    pytest.mark.only_on("up", "a stall and a kill need the processes of this machine"),
]

STALL_S = 0.8


@pytest.fixture(name="platform", scope="module")
def _platform(platform: ServedPlatform) -> Platform:
    """The one of all tests: an engine is killed, and versions are swapped, but it is left as it was found."""
    assert isinstance(platform, Platform)
    return platform


class Run:
    """One `twinserve loadtest … --json` as it goes on."""

    def __init__(self, platform: Platform, folder: Path, *arguments: str) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "twinserve", "loadtest", *arguments, "--json", "--out", str(folder)]
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "TWINSERVE_MNIST": "", **platform.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(self) -> tuple[int, dict[str, Any], str]:
        """Exit code, the JSON document, and what was said on stderr."""
        said, errors = self.process.communicate(timeout=150)
        assert said, errors
        return self.process.returncode, json.loads(said), errors


def run(platform: Platform, folder: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    return Run(platform, folder, *arguments).ended()


def test_scenarios_are_green(platform: Platform, mnist_folder: Path, tmp_path: Path) -> None:
    """All that leave the platform alone, at the same time: nothing here looks at how long answers take."""
    labelled = ("--data", str(mnist_folder), "--min-accuracy", "0.9")
    flags = {"steady": (), "ramp": (), "spike": (), "soak": (), "mixed": labelled}
    running = {
        name: Run(platform, tmp_path / name, name, "--quick", "--rate", "20", *more) for name, more in flags.items()
    }
    closed_flags = ("--users", "4", "--think-ms", "40", "--duration", "5", "--processes", "2")
    closed = Run(platform, tmp_path / "closed", "steady", *closed_flags)
    for name, going in running.items():
        code, summary, errors = going.ended()
        assert (code, summary["faults"]) == (0, {}), (name, errors, summary["checks"])
        assert summary["fates"]["right"] == summary["requests"] == summary["locust"]["requests"] > 10, name
        assert (summary["labelled"] > 10) == bool(flags[name])
        assert summary["versions"] == {"2": summary["requests"]}
        assert set(summary["by_engine"]) == {"torchserve", "tfserving"}
        assert len(summary["by_protocol"]) == (4 if name == "mixed" else 1)
        assert len(summary["by_phase"]) == {"ramp": 2, "spike": 3, "soak": 3}.get(name, 1)
        assert summary["lateness"]["count"] == summary["requests"]
        written = {path.name for path in going.folder.iterdir()}
        assert {"summary.json", "summary.txt", "latency.hgrm", "report.html", "requests_stats.csv"} <= written
    code, summary, errors = closed.ended()
    assert (code, summary["plan"]["loop"]) == (0, "closed"), errors
    assert summary["requests"] == summary["locust"]["requests"] > 20, "both processes' requests, to the last"
    in_whole_ms = summary["locust"]["p50_ms"]
    assert summary["latency"]["p50_ms"] == pytest.approx(in_whole_ms, rel=0.05, abs=0.6)


def test_versions_are_swapped_under_load_and_put_back(platform: Platform, tmp_path: Path) -> None:
    code, summary, errors = run(platform, tmp_path, "hot-swap", "--quick")
    assert code == 0, (errors, summary)
    assert set(summary["versions"]) == {"1", "2"}
    assert [incident["what"] for incident in summary["incidents"]] == ["promote 1", "promote 2"]
    assert platform.state()["models"][0]["live"] == 2


def test_an_engine_is_killed_and_nobody_notices(platform: Platform, tmp_path: Path) -> None:
    restarts = platform.restarts("tfserving")
    code, refused, errors = run(platform, tmp_path / "refused", "engine-kill", "--quick")
    assert (code, platform.restarts("tfserving")) == (2, restarts)
    assert "--yes" in refused["error"]
    pid = platform.pid("tfserving")
    code, summary, errors = run(platform, tmp_path, "engine-kill", "--quick", "--yes")
    assert code == 0, (errors, summary)
    assert summary["fates"]["right"] == summary["requests"]
    assert summary["incidents"][0]["fault"] == ""
    assert platform.pid("tfserving") != pid
    assert platform.restarts("tfserving") == restarts + 1


def test_a_stall_shows_whole_in_an_open_loop(platform: Platform, tmp_path: Path) -> None:
    """SIGSTOP of the gateway for 0.8 s of 4: a fifth of all requests are due while nothing answers."""
    going = Run(platform, tmp_path, "steady", "--rate", "100", "--duration", "4", "--max-p99-ms", "600")
    gateway = platform.pid("gateway")
    before = platform.metric(platform.metrics(), "twinserve_ledger_answered_total")
    wait_until(lambda: platform.metric(platform.metrics(), "twinserve_ledger_answered_total") > before + 50, 30, "load")
    resume = threading.Timer(STALL_S, os.kill, (gateway, signal.SIGCONT))
    os.kill(gateway, signal.SIGSTOP)
    resume.start()
    code, summary, errors = going.ended()
    resume.join()
    assert code == 1, errors
    assert summary["checks"][0]["is_met"] is False
    assert summary["latency"]["p99_ms"] > 600
    assert summary["locust"]["p99_ms"] == pytest.approx(summary["latency"]["p99_ms"], rel=0.05)
    assert summary["latency"]["p90_ms"] > 200, "a tenth of the requests waited: they were sent all the same"
    assert summary["lateness"]["p50_ms"] < 50, "it was the gateway's stall, not ours"
    assert "max_p99_ms" in (tmp_path / "summary.txt").read_text().replace("-", "_")


def test_ctrl_c_writes_the_results_of_what_ran(platform: Platform, tmp_path: Path) -> None:
    going = Run(platform, tmp_path, "steady", "--rate", "50", "--duration", "60")
    before = platform.metric(platform.metrics(), "twinserve_ledger_answered_total")
    wait_until(lambda: platform.metric(platform.metrics(), "twinserve_ledger_answered_total") > before + 20, 30, "load")
    going.process.send_signal(signal.SIGINT)
    code, summary, errors = going.ended()
    assert code == 130, errors
    assert "KeyboardInterrupt" not in errors
    assert summary["is_interrupted"]
    assert summary["requests"] >= 20
    assert (tmp_path / "report.html").stat().st_size > 1000
