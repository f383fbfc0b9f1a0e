"""`python -m loadtest.bench`: compare the gateway with the engines alone, a rival in one process, and the bare model.

Exit code 0 when everything was measured and every answer was right; 1 when not; 130 after Ctrl-C, which stops all that
was started and writes what there is.
"""

import argparse
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import msgspec

from contracts.atomic import write_atomic
from loadtest.bench.children import NotStarted
from loadtest.bench.comparisons import COMPARISONS, NOT_QUICK, Comparison
from loadtest.bench.machine import Machine
from loadtest.bench.meter import GeneratorFailed, Known, Meter
from loadtest.bench.program import FULL, QUICK, Lengths, Program, cases_of
from loadtest.bench.results import Report
from loadtest.bench.stage import Stage
from loadtest.bench.tables import markdown
from loadtest.bench.targets import Folders
from loadtest.bench.wrk import find_wrk

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    _allow_connections()
    lengths = _lengths(given)
    comparisons = _chosen(given.only, lengths)
    has_sweep = not given.only and not lengths.is_quick and not given.no_sweep
    machine, started_at = Machine.read(), datetime.now(UTC).isoformat(timespec="seconds")
    program = Program(comparisons, lengths, has_sweep, _say)
    wrk = None if given.no_wrk else find_wrk()
    code = 0
    try:
        code = _run(program, Folders(given.home.resolve()), wrk)
    except KeyboardInterrupt:
        code = INTERRUPTED
    generator = "wrk" if wrk else "our own generator"
    settings = f"{lengths.pairs} pairs of {lengths.seconds} s, closed HTTP loops by {generator}"
    report = Report(
        machine,
        settings,
        started_at,
        code == INTERRUPTED,
        program.results(),
        tuple(program.runs),
        program.tuning,
    )
    file = given.json or given.home / "results.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    sys.stdout.write(markdown(report))
    _say(f"all figures are in {file}")
    return code or (1 if report.faults else 0)


def _run(program: Program, folders: Folders, wrk: str | None) -> int:
    needed = {case.target for case in cases_of(program.comparisons, has_sweep=program.has_sweep)}
    try:
        with Stage(folders, needed, _say) as stage:
            known = Known.read(folders.version.golden)
            program.run(stage, Meter(known, folders.home / "requests", wrk))
    except (NotStarted, GeneratorFailed, OSError, ValueError) as error:
        _say(f"loadtest.bench: {error}")
        return 1
    return 0


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _allow_connections() -> None:
    """1,000 connections are as many open files: raise the limit of this process and its children as far as we may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _lengths(given: argparse.Namespace) -> Lengths:
    lengths = QUICK if given.quick else FULL
    changed = {"pairs": given.pairs, "seconds": given.seconds}
    return replace(lengths, **{k: v for k, v in changed.items() if v is not None})


def _chosen(names: Sequence[str] | None, lengths: Lengths) -> list[Comparison]:
    if names:
        return [comparison for comparison in COMPARISONS if comparison.name in names]
    return [c for c in COMPARISONS if not (lengths.is_quick and c.name in NOT_QUICK)]


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(
        f"  {c.name:18} {c.says}{f' (aim {c.aim}, then {c.then})' if c.aim else ''}" for c in COMPARISONS
    )
    home = Path(os.environ.get("TWINSERVE_HOME") or ".twinserve") / "bench"
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.bench",
        description="Compare in turn, within one run, the gateway with what it stands before and beside.",
        epilog=f"comparisons:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="three short pairs each and no sweep: below three minutes")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        choices=[c.name for c in COMPARISONS],
        help="this comparison, and no sweep; may be given several times",
    )
    parser.add_argument("--no-sweep", action="store_true", help="the comparisons without the sweep over all cases")
    parser.add_argument("--no-wrk", action="store_true", help="our own generator even where wrk is installed")
    parser.add_argument("--pairs", type=int, help="pairs a comparison (default 5, quick 3)")
    parser.add_argument("--seconds", type=int, help="whole seconds a run (default 4, quick 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"where all figures go (default {home}/results.json)")
    parser.add_argument("--home", type=Path, default=home, help=f"folder of all that it writes (default {home})")
    return parser


if __name__ == "__main__":
    sys.exit(main())
