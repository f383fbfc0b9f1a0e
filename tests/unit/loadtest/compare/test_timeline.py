"""Swaps in windows of 100 ms: what is counted where, and what the report shows of it."""

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace

from loadtest.compare.figures import figures_of
from loadtest.compare.page import encode_page
from loadtest.compare.results import Result, decode_result, encode_result
from loadtest.compare.text import describe
from loadtest.compare.timeline import WINDOW_S, make_timeline
from loadtest.swap_report import Observed
from tests.unit.loadtest.compare.swapped import (
    FAILED,
    FLIPS_S,
    LOST,
    OUTCOMES,
    STARTED_AT,
    SWAPS,
    WRONG,
    make_swapped_timeline,
)
from tests.unit.loadtest.compare.test_report import Page, numbers
from tests.unit.loadtest.compare.whole_result import make_whole_result


@pytest.fixture(scope="module")
def result() -> Result:
    return replace(asyncio.run(make_whole_result(())), swaps=make_swapped_timeline())


def test_every_request_is_in_the_window_it_was_due_in() -> None:
    timeline = make_swapped_timeline()
    assert len(timeline.windows) == 60
    assert [window.from_s for window in timeline.windows[:3]] == [0.0, WINDOW_S, 2 * WINDOW_S]
    assert sum(window.requests for window in timeline.windows) == len(OUTCOMES) == timeline.report.offered
    assert sum(sum(window.answers.values()) for window in timeline.windows) == timeline.report.answered == 598
    with_errors = {window.from_s: window.errors for window in timeline.windows if window.errors}
    assert with_errors == {FAILED // 10 / 10: 2, WRONG // 10 / 10: 1}
    assert LOST // 10 == FAILED // 10
    assert timeline.errors == 3


def test_a_flip_is_where_the_first_answer_of_the_new_version_came() -> None:
    timeline = make_swapped_timeline()
    assert timeline.versions == ("1", "2")
    for change, flip_s, swap in zip(timeline.changes, FLIPS_S, SWAPS, strict=True):
        assert change.flip_s is not None
        assert flip_s <= change.flip_s < flip_s + 0.03
        assert change.ended_s == pytest.approx(swap.ended_at - STARTED_AT)
    windows = timeline.windows
    assert (windows[20].answers, windows[30].answers, windows[50].answers) == ({"2": 10}, {"1": 10}, {"2": 10})
    inside, outside = windows[22].p99_ms, windows[35].p99_ms
    assert inside is not None
    assert outside is not None
    assert inside > 2 * outside


def test_a_run_without_requests_has_no_windows_and_a_swap_without_answers_no_flip() -> None:
    timeline = make_timeline(Observed(STARTED_AT, (), SWAPS[:1], {}, {}), 100.0, 2, "")
    assert timeline.windows == ()
    assert [change.flip_s for change in timeline.changes] == [None]


def test_a_window_in_which_nothing_was_answered_has_no_latency() -> None:
    timeline = make_timeline(Observed(STARTED_AT, (OUTCOMES[FAILED],), (), {}, {}), 100.0, 2, "")
    assert (timeline.windows[-1].requests, timeline.windows[-1].errors, timeline.windows[-1].p50_ms) == (1, 1, None)
    assert len(timeline.windows) == FAILED // 10 + 1, "the empty ones before it are there"


def test_the_report_shows_it_and_the_json_has_every_number(result: Result) -> None:
    document = encode_result(result)
    assert decode_result(document) == result
    known = set(numbers(json.loads(document)))
    page = Page(encode_page(result, plotly_script=""))
    assert "Hot swap" in page.texts
    assert [value for value, _ in page.values if value not in known] == []
    figure = figures_of(result)["swaps"]
    drawn = [value for trace in figure["data"] for axis in "xy" for value in numbers(trace[axis])]
    assert [value for value in drawn if value not in known] == []
    assert [trace["name"] for trace in figure["data"]] == ["p99", "p50", "version 1", "version 2", "errors"]
    flips = [shape for shape in figure["layout"]["shapes"] if shape["type"] == "line"]
    assert [shape["x0"] for shape in flips] == [change.flip_s for change in make_swapped_timeline().changes]
    lines = describe(result).splitlines()
    assert any(line.startswith("swaps     2 of 2 done under 600 requests, 3 errors") for line in lines)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"swaps": None, "swaps_left_out": "there is <no> token"}, "Not measured: there is <no> token."),
        ({"swaps": make_swapped_timeline("<it> failed")}, " was not put back: <it> failed"),
    ],
)
def test_what_went_wrong_is_said(result: Result, changes: dict[str, Any], says: str) -> None:
    texts = Page(encode_page(replace(result, **changes), plotly_script="")).texts
    assert any(text.endswith(says) for text in texts)


def test_nothing_is_said_where_nobody_asked(result: Result) -> None:
    text = encode_page(replace(result, swaps=None), plotly_script="")
    assert "Hot swap" not in text
    assert "swaps" not in figures_of(replace(result, swaps=None))
