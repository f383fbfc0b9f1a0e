"""`python -m loadtest.compare`: what it refuses, and how progress is told. tests/e2e/test_compare.py runs it whole."""

import io
import json

import pytest

from loadtest.compare.command_line import read_arguments
from loadtest.compare.program import run_program, sizes_of
from loadtest.compare.progress import Progress


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
