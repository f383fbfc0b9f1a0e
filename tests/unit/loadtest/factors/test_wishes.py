"""When a run of the factors may promote versions, and of which model."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from loadtest.bench.lifeline import Lifeline
from loadtest.compare import factor_section
from loadtest.compare.command_line import read_arguments
from loadtest.factors import __main__ as command
from loadtest.factors.program import Wish
from loadtest.factors.versions import Platform
from loadtest.factors.workplace import ProcessRunner
from tests.unit.loadtest.compare.whole_result import make_whole_result

URL = "http://127.0.0.1:1"


def wishes_of(monkeypatch: pytest.MonkeyPatch, module: Any) -> list[Wish]:
    wishes: list[Wish] = []

    def run_factors(_factors: object, wish: Wish) -> tuple[list[object], bool]:
        wishes.append(wish)
        return [], False

    monkeypatch.setattr(module, "run_factors", run_factors)
    return wishes


@pytest.mark.parametrize(
    ("more", "is_allowed"),
    [([], True), (["--no-swaps"], False), (["--pairs-only"], False), (["--pairs-only", "--swaps", "2"], True)],
)
def test_a_comparison_without_swaps_promotes_nothing_for_the_factors(
    monkeypatch: pytest.MonkeyPatch, more: Sequence[str], is_allowed: bool
) -> None:
    wishes = wishes_of(monkeypatch, factor_section)
    given = ["--factors", "--url", URL, "--model", "digits", "--repository", "models", "--home", "there", *more]
    result = asyncio.run(make_whole_result(arguments=()))
    factor_section.add_factors(result, read_arguments(given))
    expected = Platform(URL, "digits", Path("models"), Path("there")) if is_allowed else None
    assert [wish.platform for wish in wishes] == [expected]


def test_a_url_that_was_not_given_by_hand_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINSERVE_URL", URL)
    wishes = wishes_of(monkeypatch, command)
    assert command.main(["--only", "ramp-up"]) == 0
    assert command.main(["--only", "ramp-up", "--url", URL]) == 0
    assert [wish.platform is None for wish in wishes] == [True, False]


@pytest.mark.long
def test_a_process_whose_time_is_over_may_end_in_its_own_way(tmp_path: Path) -> None:
    source = (
        "import signal, sys\n"
        "def end(*_): print('told'); sys.exit(0)\n"
        "signal.signal(signal.SIGINT, end)\n"
        "print('begun', flush=True)\n"
        "while True: signal.pause()\n"
    )
    (tmp_path / "one_that_tells.py").write_text(source)
    with Lifeline() as lifeline:
        ended = ProcessRunner(lifeline).run("one_that_tells", [], 2.0, os.environ | {"PYTHONPATH": str(tmp_path)})
    assert ended.output.split() == ["begun", "told"]
    assert ended.fault.startswith("one_that_tells did not end in 2 s")
