"""From the start of a process to its first answer, step by step: the least that any server of a framework can take."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from contracts.findings import Finding, decode_finding, encode_finding
from workers.factors.forwards import Forward
from workers.factors.task import Task

STARTS, QUICK_STARTS = 3, 1
_TIMEOUT_S = 120.0


def measure_starts(task: Task, module: str, path: Path) -> Iterator[Finding]:
    """The best of some starts of `python -m <module> PATH`, each a fresh process; `path` is what it loads.

    The best: the first reads files from a disk, and what else the machine does only adds. Raises SubprocessError.
    """
    starts = QUICK_STARTS if task.is_quick else STARTS
    best: dict[str, Finding] = {}
    for _ in range(starts):
        begun = str(time.monotonic())
        command = [sys.executable, "-m", module, str(path), begun]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
        for finding in filter(None, map(decode_finding, done.stdout.splitlines())):
            known = best.get(finding.what)
            if known is None or float(finding.value or 0) < float(known.value or 0):
                best[finding.what] = finding
    yield from best.values()


def tell_start(format_name: str, load: Callable[[], Callable[[Path], Forward]]) -> int:
    """What a fresh process does: import by calling `load`, load the path, answer one image; returns the exit code."""
    path, begun_at = Path(sys.argv[1]), float(sys.argv[2])
    open_file = load()
    steps = [("process start and imports", time.monotonic())]
    forward = open_file(path)
    steps.append((f"to a loaded {format_name}", time.monotonic()))
    forward(np.zeros((1, 28, 28), np.float32))
    steps.append((f"to the first answer of a {format_name}", time.monotonic()))
    how = "a fresh Python process by itself, no server around it; since its start, the best of some"
    for what, at in steps:
        sys.stdout.write(encode_finding(Finding(f"cold start, {what}", how, at - begun_at, "s")) + "\n")
    return 0
