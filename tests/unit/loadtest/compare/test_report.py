"""The page and the JSON: the same numbers, in one file that needs no other."""

import asyncio
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from msgspec.structs import replace

from loadtest.compare.figures import figures_of
from loadtest.compare.page import encode_page
from loadtest.compare.results import CannotRead, Label, Result, decode_result, encode_result
from loadtest.compare.text import describe
from loadtest.compare.verdict import shown
from tests.unit.loadtest.compare.whole_result import make_whole_result

DIRECT = ("--price-per-hour", "0.9", "--direct", "torchserve=http://x", "--direct", "tfserving=http://y")


def numbers(document: Any) -> Iterator[float]:
    """Every number of a JSON document."""
    if isinstance(document, dict):
        document = list(document.values())
    if isinstance(document, list):
        for value in document:
            yield from numbers(value)
    elif isinstance(document, int | float) and not isinstance(document, bool):
        yield float(document)


class Page(HTMLParser):
    """Numbers in <data>, text of table cells outside of it, and what the page would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.values: list[tuple[float, str]] = []
        self.loose: list[str] = []
        self.loaded: list[str] = []
        self.texts: list[str] = []
        self._within: list[str] = []
        self._value = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._within.append(tag)
        self._value = dict(attrs).get("value") or ""
        self.loaded += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_endtag(self, tag: str) -> None:
        while self._within and self._within.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if "data" in self._within:
            self.values.append((float(self._value), data))
        elif "td" in self._within and "code" not in self._within:
            self.loose.append(data)


@pytest.fixture(scope="module")
def result() -> Result:
    return asyncio.run(make_whole_result(arguments=DIRECT))


def test_json_goes_there_and_back(result: Result) -> None:
    document = encode_result(result)
    assert decode_result(document) == result
    assert encode_result(decode_result(document)) == document
    for bad in (b"{}", document.replace(b'"format": 1', b'"format": 99')):
        with pytest.raises(CannotRead):
            decode_result(bad)


def test_every_number_of_the_page_is_in_the_json(result: Result) -> None:
    known = set(numbers(json.loads(encode_result(result))))
    page = Page(encode_page(result, plotly_script=""))
    assert len(page.values) > 100
    assert [value for value, _ in page.values if value not in known] == []
    assert [text for value, text in page.values if text != shown(value)] == []
    # What stands in cells outside of <data> is text of the JSON, or has no number of the run in it.
    strings = encode_result(result).decode() + "3,072, per 1,000; p50 p90 p99 p99.9 95 % 1 %"
    loose = {number for text in page.loose for number in re.findall(r"\d[\d.,]*", text)}
    assert [number for number in loose if number not in strings] == []


def test_every_number_of_the_figures_is_in_the_json(result: Result) -> None:
    known = set(numbers(json.loads(encode_result(result))))
    drawn = {
        name: [value for trace in figure["data"] for axis in "xy" for value in numbers(trace.get(axis))]
        for name, figure in figures_of(result).items()
    }
    assert all(drawn.values()), {name: len(values) for name, values in drawn.items()}
    assert [(name, value) for name, values in drawn.items() for value in values if value not in known] == []


def test_the_page_needs_nothing_else_and_has_the_verdict_first(result: Result) -> None:
    text = encode_page(result)
    page = Page(text)
    assert page.loaded == []
    assert len(text) > 3_000_000  # plotly's script is in it
    assert "Plotly" in text
    assert text.index('class="verdict"') < text.index("<table")
    assert result.verdict.sentence in page.texts
    assert 'name="viewport"' in text
    assert "@media print" in text


def test_the_embedded_server_is_never_called_tensorflow_serving(result: Result) -> None:
    shown_text = " ".join(Page(encode_page(result, plotly_script="")).texts) + describe(result)
    assert "tfserving (embedded)" in shown_text
    assert "tensorflow serving" not in shown_text.lower()
    assert Label("tfserving", "tensorflow_model_server").text == "tfserving (tensorflow_model_server)"


def test_a_hostile_name_stays_text(result: Result) -> None:
    side = replace(result.b, label=Label("tfserving", "</script><script>alert(1)</script>"))
    text = encode_page(replace(result, b=side), plotly_script="")
    assert "<script>alert" not in text


def test_what_is_not_known_is_said(result: Result) -> None:
    found = replace(result, a=replace(result.a, stages=None), b=replace(result.b, stages=None))
    texts = Page(encode_page(found, plotly_script="")).texts
    assert "No answer said where its time went." in texts
    assert "n too small" in " ".join(texts)
    assert result.rejected
    assert "10 % errors" in " ".join(Page(encode_page(result, plotly_script="")).texts)


def test_the_text_has_the_numbers_that_most_look_for(result: Result) -> None:
    lines = describe(result).splitlines()
    assert lines[0] == result.verdict.sentence
    assert "torchserve is faster: p50 latency at 150 requests a second is" in lines[0]
    assert any(line.startswith("direct    B over A, 7 of 8 pairs: p50 1.") for line in lines)
    assert any("a second passed with p99 within 50 ms" in line and "a million" in line for line in lines)
