"""`python -m loadtest.factors`: measure every factor that the articles argue about, and print a table.

Exit code 0 when the run came to its end, whatever single rows say; 2 when it could not begin or write its file; 130
after Ctrl-C, which prints and writes what was measured.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from contracts.atomic import write_atomic
from loadtest.bench.children import NotStarted
from loadtest.bench.machine import Machine
from loadtest.factors.catalog import FACTORS, Factor
from loadtest.factors.program import Wish, find_data, run_factors
from loadtest.factors.rows import FORMAT, Factors, encode_factors
from loadtest.factors.tables import encode_markdown
from loadtest.output import check_writable

CANNOT_RUN, INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    started, began_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    machine = Machine.read()  # before there is any load of ours
    try:
        if given.json:
            check_writable(given.json.parent)
        wish = Wish(given.quick, given.url, find_data(given.data), given.model, given.repository, given.home)
        rows, is_interrupted = run_factors(chosen(given.only), wish)
        took_s = time.monotonic() - started
        found = Factors(FORMAT, began_at, took_s, given.quick, is_interrupted, machine, tuple(rows))
        _tell(found, given.json)
    except (NotStarted, OSError) as error:
        sys.stderr.write(f"loadtest.factors: {error}\n")
        return CANNOT_RUN
    except KeyboardInterrupt:
        return INTERRUPTED
    return INTERRUPTED if is_interrupted else 0


def _tell(found: Factors, file: Path | None) -> None:
    """Print the table, and write the rows where that is asked for. Raises OSError, and neither costs the other."""
    try:
        sys.stdout.write(encode_markdown(found.rows))
        sys.stdout.flush()
    finally:
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, encode_factors(found))


def chosen(names: Sequence[str]) -> tuple[Factor, ...]:
    """The factors of those names in the usual order; all of them when none is named."""
    return tuple(factor for factor in FACTORS if not names or factor.name in names)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.factors", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some 3 minutes: fewer repeats, shorter training")
    names = [factor.name for factor in FACTORS]
    parser.add_argument("--only", action="append", default=[], choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows there")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the four MNIST files (TWINSERVE_MNIST)")
    parser.add_argument("--url", help="the gateway of a running `make up`, whose versions then take turns")
    parser.add_argument("--model", default="mnist", help="the model there (default: %(default)s)")
    home, repository = os.environ.get("TWINSERVE_HOME"), os.environ.get("TWINSERVE_REPOSITORY")
    parser.add_argument("--home", type=Path, default=Path(home or ".twinserve"), help="where its operators' token is")
    parser.add_argument("--repository", type=Path, default=Path(repository or "model_repo"), help="its versions")
    return parser


if __name__ == "__main__":
    sys.exit(main())
