"""The articles' table beside a comparison: measured after it when --factors asks for it, and a section of the page."""

import argparse
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

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
    has_swaps = not given.no_swaps and (not given.pairs_only or given.swaps is not None)
    url = given.url if has_swaps else None  # with it, versions take turns
    wish = Wish(given.quick, url, find_data(None), given.model, given.repository, given.home)
    try:
        with _sigterm_as_ctrl_c():
            rows, is_interrupted = run_factors(FACTORS, wish)
    except (NotStarted, OSError) as error:
        rows, is_interrupted = [missing_row("factors", "both", "all of it", str(error))], False
    except KeyboardInterrupt:  # not in one of the factors, which keep what was measured
        rows, is_interrupted = [missing_row("factors", "both", "all of it", "it was interrupted")], True
    return replace(result, factors=tuple(rows), is_interrupted=is_interrupted)


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def encode_factors_section(rows: Sequence[Row]) -> str:
    """HTML; nothing when no factors were measured."""
    if not rows:
        return ""
    about = "Every factor that articles on the two frameworks argue about, as measured on this machine."
    return f"<h2>Factors</h2>{note(about)}{encode_html(rows)}"
