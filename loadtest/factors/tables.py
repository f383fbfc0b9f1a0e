"""The rows as tables: Markdown for a terminal and docs/factors.md, HTML for the report of `twinserve compare`. Pure."""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from loadtest.compare.page_parts import number, table
from loadtest.compare.verdict import shown
from loadtest.factors.rows import Row

_NOT_MEASURED = "not measured"


def encode_markdown(rows: Sequence[Row]) -> str:
    """A heading and a table for each factor."""
    return "\n".join(line for factor, found in _by_factor(rows) for line in _markdown(factor, found))


def encode_html(rows: Sequence[Row]) -> str:
    """A table for each factor; every number is wrapped in <data>, all other text is escaped."""
    return "".join(_html(factor, found) for factor, found in _by_factor(rows))


def _by_factor(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    for factor, found in groupby(rows, lambda row: row.factor):
        yield factor, list(found)


def _markdown(factor: str, rows: Sequence[Row]) -> Iterator[str]:
    yield from (f"## {factor.capitalize()}", "", "| framework | what | value | how, or why not |", "|---|---|---|---|")
    for row in rows:
        cells = (row.framework, row.what, _value_text(row), row.why_not or row.how)
        yield "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _value_text(row: Row) -> str:
    if row.value is None:
        return _NOT_MEASURED
    return row.value if isinstance(row.value, str) else f"{shown(row.value)} {row.unit}".strip()


def _html(factor: str, rows: Sequence[Row]) -> str:
    cells = (
        (escape(row.framework), escape(row.what), _value_html(row), escape(row.why_not or row.how)) for row in rows
    )
    return f"<h3>{escape(factor.capitalize())}</h3>" + table(("", "what", "value", "how, or why not"), cells)


def _value_html(row: Row) -> str:
    if row.value is None:
        return _NOT_MEASURED
    if isinstance(row.value, str):
        return escape(row.value)
    return f"{number(row.value)} {escape(row.unit)}"
