"""Rows as Markdown, as HTML and as JSON."""

import json

from loadtest.bench.machine import Machine
from loadtest.factors.rows import FORMAT, Factors, Row, encode_factors
from loadtest.factors.tables import encode_html, encode_markdown

ROWS = (
    Row("serialization", "PyTorch", "state dict: size", 11.0846, "MB", "bytes on disk"),
    Row("serialization", "PyTorch", "ONNX: load", None, "", "", "No module named 'onnxruntime'"),
    Row("debugging", "TensorFlow", "values can be read | <now>", "no", "", "a hook\nlooks"),
)


def test_markdown_has_a_table_for_each_factor_and_no_cell_breaks_it() -> None:
    lines = encode_markdown(ROWS).splitlines()
    assert [line for line in lines if line.startswith("#")] == ["## Serialization", "## Debugging"]
    assert "| PyTorch | state dict: size | 11.1 MB | bytes on disk |" in lines
    assert "| PyTorch | ONNX: load | not measured | No module named 'onnxruntime' |" in lines
    assert r"| TensorFlow | values can be read \| <now> | no | a hook looks |" in lines


def test_html_wraps_numbers_as_they_are_and_escapes_the_rest() -> None:
    page = encode_html(ROWS)
    assert '<data value="11.0846">11.1</data> MB' in page
    assert "not measured" in page
    assert "&lt;now&gt;" in page
    assert "<now>" not in page


def test_json_holds_all_rows_as_they_are() -> None:
    machine = Machine(2, "a processor", "", 8 * 10**9, 0.25, "Linux 6", "3.11", {}, "")
    found = Factors(FORMAT, "2026-11-21T12:00:00+00:00", 1.5, True, False, machine, ROWS)
    document = json.loads(encode_factors(found))
    assert document["rows"][0]["value"] == 11.0846
    assert document["rows"][1]["value"] is None
    assert len(document["rows"]) == len(ROWS)
