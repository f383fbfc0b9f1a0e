"""The articles' table beside a comparison: in its JSON and on its page when asked for, and never at its cost."""

import asyncio
import json
import signal

import pytest
from msgspec.structs import replace

from loadtest.bench.children import NotStarted
from loadtest.compare import factor_section
from loadtest.compare.command_line import read_arguments
from loadtest.compare.factor_section import add_factors
from loadtest.compare.page import encode_page
from loadtest.compare.results import Result, decode_result, encode_result
from loadtest.factors.program import Wish
from loadtest.factors.rows import Row
from tests.unit.loadtest.compare.whole_result import make_whole_result

ROWS = [
    Row("serialization", "PyTorch", "state dict: size", 11.0846, "MB", "bytes on disk"),
    Row("serialization", "TensorFlow", "<ONNX>", None, "", "", "no such package"),
]


@pytest.fixture(scope="module")
def result() -> Result:
    return asyncio.run(make_whole_result(arguments=()))


def measuring(monkeypatch: pytest.MonkeyPatch, *, is_interrupted: bool = False) -> list[Wish]:
    wishes: list[Wish] = []

    def run_factors(_factors: object, wish: Wish) -> tuple[list[Row], bool]:
        wishes.append(wish)
        return ROWS, is_interrupted

    monkeypatch.setattr(factor_section, "run_factors", run_factors)
    return wishes


def test_nothing_is_measured_unless_asked_for(monkeypatch: pytest.MonkeyPatch, result: Result) -> None:
    wishes = measuring(monkeypatch)
    assert add_factors(result, read_arguments([])) is result
    assert add_factors(replace(result, is_interrupted=True), read_arguments(["--factors"])).factors == ()
    assert wishes == []
    assert "<h2>Factors</h2>" not in encode_page(result, plotly_script="")


def test_rows_are_in_the_json_and_on_the_page(monkeypatch: pytest.MonkeyPatch, result: Result) -> None:
    wishes = measuring(monkeypatch)
    found = add_factors(result, read_arguments(["--factors", "--quick", "--url", "http://h:1"]))
    assert wishes[0].is_quick
    assert wishes[0].url == "http://h:1"
    assert decode_result(encode_result(found)) == found
    assert json.loads(encode_result(found))["factors"][0]["value"] == 11.0846
    page = encode_page(found, plotly_script="")
    assert "<h2>Factors</h2>" in page
    assert '<data value="11.0846">11.1</data> MB' in page
    assert "&lt;ONNX&gt;" in page


def test_nothing_is_promoted_for_who_wants_no_swaps(monkeypatch: pytest.MonkeyPatch, result: Result) -> None:
    wishes = measuring(monkeypatch)
    add_factors(result, read_arguments(["--factors", "--no-swaps", "--url", "http://h:1"]))
    assert wishes[0].url is None


def test_what_goes_wrong_costs_the_table_alone(monkeypatch: pytest.MonkeyPatch, result: Result) -> None:
    measuring(monkeypatch, is_interrupted=True)
    assert add_factors(result, read_arguments(["--factors"])).is_interrupted

    def refuse(*_: object) -> None:
        raise NotStarted("the process that watches did not start")

    monkeypatch.setattr(factor_section, "run_factors", refuse)
    found = add_factors(result, read_arguments(["--factors"]))
    assert found.gateway == result.gateway
    assert [row.why_not for row in found.factors] == ["the process that watches did not start"]


def test_sigterm_and_ctrl_c_end_the_table_alone(monkeypatch: pytest.MonkeyPatch, result: Result) -> None:
    def fail(*_: object) -> None:
        pytest.fail("SIGTERM would have ended the program")

    def end(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, fail)
    try:
        for ending in (end, interrupt):
            monkeypatch.setattr(factor_section, "run_factors", ending)
            found = add_factors(result, read_arguments(["--factors"]))
            assert found.is_interrupted
            assert found.gateway == result.gateway
            assert [row.why_not for row in found.factors] == ["it was interrupted"]
        assert signal.getsignal(signal.SIGTERM) is fail
    finally:
        signal.signal(signal.SIGTERM, before)
