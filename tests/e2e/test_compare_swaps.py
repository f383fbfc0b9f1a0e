"""`twinserve compare --swaps` against a real platform: versions change places under load, nobody notices, and the one
that was live is live again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.compare.results import decode_result
from tests.platform_process import Platform
from tests.served_platform import ServedPlatform

pytestmark = [pytest.mark.engines, pytest.mark.only_on("up", "the token is read from the run directory")]

SHORT = ("--quick", "--pairs", "2", "--slot-s", "0.4", "--rate", "40", "--pairs-only", "--swaps", "2", "--json")


def test_versions_change_places_under_load_and_are_put_back(platform: ServedPlatform, tmp_path: Path) -> None:
    assert isinstance(platform, Platform)
    before = platform.state()["models"][0]
    command = [sys.executable, "-m", "twinserve", "compare", "--url", platform.url, *SHORT, "--out", str(tmp_path)]
    environment = {**os.environ, **platform.environment}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stderr
    result = decode_result(ran.stdout.encode())
    timeline = result.swaps
    assert timeline is not None, result.swaps_left_out
    assert timeline.report.is_good, timeline.report
    assert (timeline.errors, timeline.put_back_fault) == (0, "")
    assert timeline.versions == ("1", "2")
    assert [(change.from_version, change.version, change.fault) for change in timeline.changes] == [
        (2, 1, ""),
        (1, 2, ""),
    ]
    for change in timeline.changes:
        assert change.flip_s is not None
        assert change.began_s < change.flip_s
        assert {"load", "warm", "flip"} <= set(change.phases)
    after = platform.state()["models"][0]
    assert {key: after[key] for key in ("live", "kept")} == {key: before[key] for key in ("live", "kept")}
    assert 'id="plot-swaps"' in (tmp_path / "compare.html").read_text()
