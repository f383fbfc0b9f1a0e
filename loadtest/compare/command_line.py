"""What `python -m loadtest.compare` takes; `twinserve compare --help` explains it at length."""

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from contracts.addresses import LOOPBACK, Ports

ENGINES = ("torchserve", "tfserving")
VERDICT_METRICS = ("p50", "p90", "p99", "mean", "upstream")


class BadArguments(ValueError):
    """A command line that cannot be read; the message says what is wrong with it."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadArguments(message)


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Raises BadArguments, and ValueError for a port in the environment that is none."""
    given = _parser(os.environ).parse_args(arguments)
    given.direct = dict(given.direct)
    return given


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    home = Path(environment.get("TWINSERVE_HOME") or ".twinserve")
    here = f"http://{LOOPBACK}:{Ports.from_environment(environment).http}"
    parser = _Parser(prog="twinserve compare", description="Which engine is faster here, and how sure.")
    parser.add_argument("--url", default=environment.get("TWINSERVE_URL") or here)
    parser.add_argument("--model", default="mnist")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rate", type=_positive)
    parser.add_argument("--metric", choices=VERDICT_METRICS, default="p50")
    parser.add_argument("--slo-ms", type=_positive, default=50.0)
    parser.add_argument("--price-per-hour", type=_positive)
    parser.add_argument("--direct", type=_direct, action="append", default=[], metavar="ENGINE=URL")
    parser.add_argument("--torchserve-key-file", type=Path, default=home / "torchserve" / "key_file.json")
    parser.add_argument("--pairs", type=_even)
    parser.add_argument("--slot-s", type=_positive)
    parser.add_argument("--pairs-only", action="store_true")
    parser.add_argument("--factors", action="store_true")
    parser.add_argument("--swaps", type=_count)
    parser.add_argument("--no-swaps", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--home", type=Path, default=home)
    parser.add_argument(
        "--repository", type=Path, default=Path(environment.get("TWINSERVE_REPOSITORY") or "model_repo")
    )
    parser.add_argument("--json", action="store_true")
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _even(text: str) -> int:
    if not text.isdecimal() or int(text) < 2 or int(text) % 2:
        raise argparse.ArgumentTypeError(f"{text} is not an even number of pairs, of which two make one ABBA")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number of swaps")
    return int(text)


def _direct(text: str) -> tuple[str, str]:
    engine, _, url = text.partition("=")
    if engine not in ENGINES or not url:
        raise argparse.ArgumentTypeError(f"{text!r}: expected torchserve=URL or tfserving=URL")
    return engine, url
