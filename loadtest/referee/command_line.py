"""What `python -m loadtest.referee` takes."""

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from contracts.addresses import LOOPBACK, Ports
from loadtest.referee.scenarios import Scenario

ENGINES = ("torchserve", "tfserving")


class BadArguments(ValueError):
    """A command line that cannot be read; the message says what is wrong with it."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadArguments(message)


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Raises BadArguments, and ValueError for a port in the environment that is none."""
    return _parser(os.environ).parse_args(arguments)


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    home = Path(environment.get("TWINSERVE_HOME") or ".twinserve")
    here = f"http://{LOOPBACK}:{Ports.from_environment(environment).http}"
    repository = Path(environment.get("TWINSERVE_REPOSITORY") or "model_repo")
    parser = _Parser(
        prog="python -m loadtest.referee",
        description="MLPerf's LoadGen asks the gateway; every answer is checked. Not an MLPerf result.",
    )
    add = parser.add_argument
    add("--url", default=environment.get("TWINSERVE_URL") or here, help="the gateway (default: %(default)s)")
    add("--model", default="mnist")
    add("--engine", choices=ENGINES, help="force this engine; default: routing decides")
    add("--scenario", choices=list(Scenario), action="append", help="several are run in turn; default: all four")
    add("--quick", action="store_true", help="10 s a scenario instead of 60")
    add("--duration-s", type=_positive, help="of each scenario")
    add("--rate", type=_positive, help="queries a second of Server; default: three tenths of what was reached before")
    add("--slo-ms", type=_positive, default=50.0, help="Server's bound of p99 (default: %(default)g)")
    add("--seed", type=int, default=0, help="of LoadGen's three generators (default: %(default)s)")
    add("--out", type=Path, help="folder for the report and LoadGen's logs; default: below .twinserve/referee")
    add("--home", type=Path, default=home, help="the run directory of `twinserve up` (default: %(default)s)")
    add("--repository", type=Path, default=repository, help="whose golden rows are asked (default: %(default)s)")
    add("--json", action="store_true", help="print the report as JSON")
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value
