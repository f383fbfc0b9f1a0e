"""What the command line is understood as, and what it does without starting anything."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from loadtest.bench.__main__ import main
from loadtest.bench.document import markdown
from loadtest.bench.orders import parse_orders
from loadtest.bench.plan import FULL, QUICK, Part
from tests.unit.loadtest.bench.reports import full_report


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], set(Part)),
        (["--quick"], {Part.COMPARISONS}),
        (["--no-sweep"], {Part.COMPARISONS}),
        (["--processes"], {Part.PROCESSES}),
        (["--quick", "--batches", "--growth"], {Part.BATCHES, Part.GROWTH}),
        (["--only", "tf-64", "--growth"], {Part.COMPARISONS, Part.GROWTH}),
    ],
)
def test_parts(words: list[str], parts: set[Part]) -> None:
    assert parse_orders(words).parts == parts


def test_lengths() -> None:
    assert parse_orders([]).lengths == FULL
    assert parse_orders(["--quick"]).lengths == QUICK
    changed = parse_orders(["--pairs", "7", "--seconds", "9"]).lengths
    assert (changed.pairs, changed.process_pairs, changed.seconds, changed.sweep_seconds) == (7, 7, 9, 9)


@pytest.mark.parametrize("words", [["--pairs", "0"], ["--seconds", "1.5"], ["--only", "torchserve-65"]])
def test_what_cannot_be_followed_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parse_orders(words)
    assert refused.value.code == 2
    assert words[1] in capsys.readouterr().err


def test_a_file_of_results_is_printed_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results.json"
    file.write_bytes(msgspec.json.encode(full_report()))
    assert main(["--tables", str(file)]) == 0
    assert capsys.readouterr().out == markdown(full_report())


@pytest.mark.parametrize("content", [None, b"{}", b"no JSON"])
def test_a_file_that_is_no_report_is_refused(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results.json"
    if content is not None:
        file.write_bytes(content)
    assert main(["--tables", str(file)]) == 1
    printed = capsys.readouterr()
    assert str(file) in printed.err
    assert not printed.out


@pytest.mark.frameworks
@pytest.mark.long
def test_without_a_gpu_there_is_one_line_and_no_figure(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtest.bench", "--gpu", "--home", str(tmp_path / "bench")]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "no GPU was found" in line
    assert not (tmp_path / "bench").exists()
