"""What is measured of engines is read when asked, and nothing is known where it cannot be."""

from pathlib import Path

import pytest

from contracts.engine_usage import EngineUsage
from gateway.measured_file import MeasuredFile


def test_without_a_path_nothing_is_known() -> None:
    assert MeasuredFile(None, EngineUsage).read() == EngineUsage()


@pytest.mark.parametrize("content", ["", "{", '{"cpu_seconds": "many"}'])
def test_what_is_no_measurement_is_said_and_left_out(
    content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "usage.json"
    path.write_text(content)
    assert MeasuredFile(path, EngineUsage).read() == EngineUsage()
    assert str(path) in caplog.text
