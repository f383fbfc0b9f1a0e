"""`python -m loadtest.compare`: what it refuses, and how progress is told. tests/e2e/test_compare.py runs it whole."""

import asyncio
import io
import json
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
from msgspec.structs import replace

from loadtest.compare import program
from loadtest.compare.command_line import read_arguments
from loadtest.compare.program import run_program, sizes_of
from loadtest.compare.progress import Progress
from loadtest.compare.results import Result, decode_result
from loadtest.factors.rows import Row
from tests.unit.loadtest.compare.whole_result import make_whole_result

ROW = Row("serialization", "PyTorch", "state dict: size", 11.0846, "MB", "bytes on disk")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--url", "http://127.0.0.1:1"), "start the platform with `make up`"),
        (("--pairs", "3"), "3 is not an even number"),
        (("--direct", "torchserve=http://127.0.0.1:1"), "for both engines or for none"),
        (("--direct", "other=http://127.0.0.1:1"), "expected torchserve=URL"),
        (("--rate", "0"), "not a positive number"),
    ],
)
def test_what_cannot_run_ends_with_2_and_says_why(
    arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program([*arguments, "--json"]) == 2
    assert says in json.loads(capsys.readouterr().out)["error"]
    assert run_program(arguments) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(("pairs", "noise"), [(2, 10), (10, 10), (60, 30), (26, 12)])
def test_noise_has_half_as_many_pairs_but_enough_for_an_interval(pairs: int, noise: int) -> None:
    sizes = sizes_of(read_arguments(["--quick", "--pairs", str(pairs), "--slot-s", "0.5", "--pairs-only"]))
    assert (sizes.pairs, sizes.noise_pairs, sizes.slot_s, sizes.slo_s) == (pairs, noise, 0.5, 0.0)


def test_progress_is_a_line_a_step_and_says_what_is_left() -> None:
    stream = io.StringIO()
    progress = Progress(100.0, stream)
    progress.say("first", 40.0)
    progress.say("second", 100.0)
    progress.say("third, beyond the plan", 10.0)
    first, second, third = stream.getvalue().splitlines()
    assert first == "  0 %  1:40 left  first"
    assert second.startswith(" 40 %")
    assert third.startswith(" 99 %  0:10 left")


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for place in ("--out", "--home"):
        arguments = ["--url", "http://127.0.0.1:1", place, str(tmp_path / "file" / "folder"), "--json"]
        assert run_program(arguments) == 2
        assert "Not a directory" in json.loads(capsys.readouterr().out)["error"]


@pytest.fixture
def result(monkeypatch: pytest.MonkeyPatch) -> Result:
    """What the program is made to have measured."""
    result = asyncio.run(make_whole_result(arguments=()))
    monkeypatch.setattr(program, "_compare", lambda _given: result)
    return result


def test_the_result_is_written_before_the_factors_and_with_them_after(
    monkeypatch: pytest.MonkeyPatch, result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def add_factors(found: Result, _given: Namespace) -> Result:
        assert decode_result((tmp_path / "compare.json").read_bytes()) == found
        assert "<h2>Factors</h2>" not in (tmp_path / "compare.html").read_text()
        return replace(found, factors=(ROW,))

    monkeypatch.setattr(program, "add_factors", add_factors)
    assert run_program(["--factors", "--json", "--out", str(tmp_path)]) == 0
    written = (tmp_path / "compare.json").read_bytes()
    assert decode_result(written) == replace(result, factors=(ROW,))
    assert capsys.readouterr().out.encode() == written
    assert "<h2>Factors</h2>" in (tmp_path / "compare.html").read_text()


def test_what_cannot_be_written_is_printed(
    monkeypatch: pytest.MonkeyPatch, result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"

    def lose_the_folder(found: Result, _given: Namespace) -> Result:
        shutil.rmtree(folder)
        folder.touch()
        return found

    monkeypatch.setattr(program, "add_factors", lose_the_folder)
    assert run_program(["--factors", "--json", "--out", str(folder)]) == 2
    told = capsys.readouterr()
    assert decode_result(told.out.encode()) == result
    assert "the report cannot be written" in told.err


class _Gone(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_what_nobody_reads_is_written(monkeypatch: pytest.MonkeyPatch, result: Result, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.stdout", _Gone())
    assert run_program(["--out", str(tmp_path)]) == 2
    assert decode_result((tmp_path / "compare.json").read_bytes()) == result
