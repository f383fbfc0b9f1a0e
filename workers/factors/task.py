"""A measuring worker: its command line, its findings on stdout, and what becomes of a measurement that fails."""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from contracts.findings import Finding, encode_finding

Measure = Callable[[], float | str]
_LONGEST_REASON = 200


@dataclass(frozen=True)
class Task:
    """What to measure with. `scratch` is a folder to leave files in; whoever started the worker removes it.

    `begun_at` is the system's monotonic clock just before the worker was started. `data` is a folder of MNIST's files.
    """

    weights: Path
    scratch: Path
    begun_at: float
    data: Path | None = None
    is_quick: bool = False


Findings = Callable[[Task], Iterable[Finding]]


def attempt(what: str, unit: str, how: str, measure: Measure) -> Finding:
    """One finding, whatever happens: what a framework raises is the reason why there is no value."""
    try:
        value = measure()
    except Exception as error:  # noqa: BLE001 - frameworks raise anything, and the next measurement may do well
        return Finding(what, how, why_not=reason_of(error))
    if isinstance(value, float) and not math.isfinite(value):
        return Finding(what, how, why_not=f"it came out as {value}")
    return Finding(what, how, value, unit)


def reason_of(error: BaseException) -> str:
    """One line: the kind of error, and the first line of its message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no message"]
    # TensorFlow's tracing puts the way to the error before it.
    telling = lines[-1] if lines[0] == "in user code:" else lines[0]
    return f"{type(error).__name__}: {telling.partition(' [Op:')[0]}"[:_LONGEST_REASON]


def run_task(module: str, findings: Findings) -> int:
    """Run the command line of `python -m <module>`, a line for each finding as it comes; returns the exit code."""
    task = _read_task(module)
    for finding in findings(task):
        sys.stdout.write(encode_finding(finding) + "\n")
        sys.stdout.flush()
    return 0


def _read_task(module: str) -> Task:
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description="Measure, and print findings.")
    parser.add_argument("--weights", type=Path, required=True, help="canonical safetensors file")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for files that may be left behind")
    parser.add_argument("--begun-at", type=float, default=time.monotonic(), help="when this process was started")
    parser.add_argument("--data", type=Path, help="folder of the four MNIST files")
    parser.add_argument("--quick", action="store_true", dest="is_quick")
    return Task(**vars(parser.parse_args()))
