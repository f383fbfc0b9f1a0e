"""What a bench was told on its command line."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loadtest.bench.comparisons import COMPARISONS
from loadtest.bench.plan import FULL, QUICK, Lengths, Part


@dataclass(frozen=True)
class Orders:
    """`tables`: print those of this file, and do nothing else. `names`: these comparisons alone, all when empty."""

    tables: Path | None
    on_gpu: bool
    parts: frozenset[Part]
    names: frozenset[str]
    lengths: Lengths
    may_use_wrk: bool
    home: Path
    json_file: Path


def parse_orders(arguments: Sequence[str] | None) -> Orders:
    """Ends the process with code 2 and a message when they cannot be followed."""
    given = _parser().parse_args(arguments)
    changed = {
        "pairs": given.pairs,
        "process_pairs": given.pairs,
        "seconds": given.seconds,
        "sweep_seconds": given.seconds,
    }
    lengths = replace(QUICK if given.quick else FULL, **{k: v for k, v in changed.items() if v is not None})
    return Orders(
        given.tables,
        given.gpu,
        _parts(given),
        frozenset(given.only or ()),
        lengths,
        not given.no_wrk,
        given.home,
        given.json or given.home / ("results-gpu.json" if given.gpu else "results.json"),
    )


def _parts(given: argparse.Namespace) -> frozenset[Part]:
    named = {part for part in (Part.GROWTH, Part.BATCHES, Part.PROCESSES) if getattr(given, part)}
    if given.only:
        named.add(Part.COMPARISONS)
    if named:
        return frozenset(named)
    return frozenset((Part.COMPARISONS,) if given.quick or given.no_sweep else Part)


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(
        f"  {c.name:18} {c.says}{f' (aim {c.aim}, then {c.then})' if c.aim else ''}" for c in COMPARISONS
    )
    home = Path(os.environ.get("TWINSERVE_HOME") or ".twinserve") / "bench"
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.bench",
        description="Compare in turn, within one run, the gateway with what it stands before and beside; say how its "
        "costs grow, and what they come to on many machines.",
        epilog=f"comparisons:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="the comparisons alone, in short pairs: below 3 minutes")
    parts = parser.add_argument_group("parts", "One or several of these instead of everything.")
    parts.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        choices=[c.name for c in COMPARISONS],
        help="this comparison; may be given several times",
    )
    parts.add_argument("--processes", action="store_true", help="1, 2, 3 and 4 gateway processes")
    parts.add_argument("--batches", action="store_true", help="1, 2, 4 … 512 images a request, beside bare passes")
    parts.add_argument("--growth", action="store_true", help="1, 4, 16, 64, 256 and 1,000 connections")
    parts.add_argument("--no-sweep", action="store_true", help="all comparisons, and nothing else")
    parts.add_argument("--gpu", action="store_true", help="parity, speed and memory on a GPU, and nothing else")
    parts.add_argument("--tables", type=Path, metavar="FILE", help="print the tables of a results file again")
    parser.add_argument("--no-wrk", action="store_true", help="our own generator even where wrk is installed")
    parser.add_argument(
        "--pairs", type=_positive, help=f"pairs a comparison (default {FULL.pairs}, quick {QUICK.pairs})"
    )
    seconds = f"whole seconds a run (default {FULL.seconds}, quick {QUICK.seconds})"
    parser.add_argument("--seconds", type=_positive, help=seconds)
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"where all figures go (default {home}/results.json)")
    parser.add_argument("--home", type=Path, default=home, help=f"folder of all that it writes (default {home})")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)
