"""The articles' table beside a comparison: measured after it when --factors asks for it, and a section of the page."""

import argparse
from collections.abc import Sequence

from msgspec.structs import replace

from loadtest.bench.children import NotStarted
from loadtest.compare.page_parts import note
from loadtest.compare.results import Result
from loadtest.factors.catalog import FACTORS
from loadtest.factors.program import Wish, find_data, run_factors
from loadtest.factors.rows import Row, missing_row
from loadtest.factors.tables import encode_html


def add_factors(result: Result, given: argparse.Namespace) -> Result:
    """The result with all factors' rows, when they were asked for. What goes wrong here never costs the comparison."""
    if not given.factors or result.is_interrupted:
        return result
    url = None if given.no_swaps else given.url  # with it, versions take turns
    try:
        rows, is_interrupted = run_factors(FACTORS, Wish(given.quick, url, find_data(None)))
    except (NotStarted, OSError) as error:
        rows, is_interrupted = [missing_row("factors", "both", "all of it", str(error))], False
    return replace(result, factors=tuple(rows), is_interrupted=is_interrupted)


def encode_factors_section(rows: Sequence[Row]) -> str:
    """HTML; nothing when no factors were measured."""
    if not rows:
        return ""
    about = "Every factor that articles on the two frameworks argue about, as measured on this machine."
    return f"<h2>Factors</h2>{note(about)}{encode_html(rows)}"
