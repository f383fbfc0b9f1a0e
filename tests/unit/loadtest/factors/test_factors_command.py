"""`python -m loadtest.factors`: what was measured is told, whatever becomes of its file."""

import json
from pathlib import Path

import pytest

from loadtest.factors import __main__ as command
from loadtest.factors.rows import Row

ROW = Row("serialization", "PyTorch", "state dict: size", 11.0846, "MB", "bytes on disk")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What has been measured, which here takes no time."""
    runs: list[object] = []

    def run_factors(_factors: object, wish: object) -> tuple[list[Row], bool]:
        runs.append(wish)
        return [ROW], False

    monkeypatch.setattr(command, "run_factors", run_factors)
    monkeypatch.setattr("signal.signal", lambda *_: None)  # the handlers would outlive the test
    return runs


def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(
    runs: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert command.main(["--json", str(tmp_path / "file" / "rows.json")]) == command.CANNOT_RUN
    assert "Not a directory" in capsys.readouterr().err
    assert runs == []


def test_rows_that_cannot_be_written_are_printed(
    runs: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--json", str(tmp_path)]) == command.CANNOT_RUN  # a folder stands where the file should
    told = capsys.readouterr()
    assert "state dict: size" in told.out
    assert "Is a directory" in told.err
    assert len(runs) == 1


def test_rows_are_printed_and_written_into_a_new_folder(
    runs: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "rows.json"
    assert command.main(["--json", str(file)]) == 0
    assert "state dict: size" in capsys.readouterr().out
    assert [row["value"] for row in json.loads(file.read_text())["rows"]] == [ROW.value]
    assert len(runs) == 1
