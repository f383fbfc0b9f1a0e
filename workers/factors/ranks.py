"""Data parallel training on one machine: the same steps by one process and by two that share each batch."""

import functools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.findings import Finding
from workers.factors.crew import TIMEOUT_S, CrewFailed, run_crew
from workers.factors.isolation import isolated, why_not_isolated
from workers.factors.task import Task, attempt

BATCH = 64
"""Images of one step, over all processes together."""

STEPS, QUICK_STEPS, WARM_STEPS = 200, 20, 5
_MORE_TIMEOUT_S = 30.0
"""For a crew to tell that its time is over."""


def measure_ranks(task: Task, module: str, means: str) -> Iterator[Finding]:
    """Images a second of one and of two processes, and the speed-up; `means` is how two of them learn together.

    `python -m <module> RANK RANKS THREADS STEPS FOLDER ADDRESSES` trains and, as rank 0, prints images a second.
    """
    steps = QUICK_STEPS if task.is_quick else STEPS
    amount = f"{steps} steps of {BATCH} images in all, after {WARM_STEPS} that do not count"
    alone = f"the framework's plain training step, with nothing to distribute; {amount}"
    together = f"{means}, in a network namespace of their own; {amount}"
    seen: dict[tuple[int, int], float] = {}
    for ranks, threads in ((1, 1), (1, 2), (2, 1)):
        what = f"{ranks} process{'es' if ranks > 1 else ''} of {threads} thread{'s' if threads > 1 else ''}"
        how = together if ranks > 1 else alone
        if ranks > 1 and (refusal := why_not_isolated()):
            yield Finding(what, how, why_not=f"they could listen on all addresses, so not without that: {refusal}")
            continue
        run = run_crew if ranks == 1 else run_isolated_crew
        folder = task.scratch / f"{ranks}-{threads}"
        finding = attempt(what, "images/s", how, functools.partial(run, module, ranks, threads, steps, folder))
        yield finding
        if isinstance(finding.value, float):
            seen[ranks, threads] = finding.value
    if {(1, 1), (2, 1)} <= seen.keys():
        speed_up = seen[2, 1] / seen[1, 1]
        yield Finding("speed-up of the second process", f"{together}; over one process of 1 thread", speed_up, "times")


def run_isolated_crew(module: str, ranks: int, threads: int, steps: int, folder: Path) -> float:
    """As run_crew, with no network but a loopback of their own. Raises CrewFailed, SubprocessError, OSError."""
    arguments = [module, str(ranks), str(threads), str(steps), str(folder)]
    done = subprocess.run(
        isolated([sys.executable, "-m", "workers.factors.crew", *arguments]),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S + _MORE_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise CrewFailed(lines[-1] if lines else f"ended with {done.returncode}")
    return float(done.stdout.splitlines()[-1])


def train_steps(step: Callable[[], object], steps: int) -> float:
    """Images a second, by all processes together, of a step that all of them take."""
    for _ in range(WARM_STEPS):
        step()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return steps * BATCH / (time.perf_counter() - started)


def own_share(rank: int, ranks: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """This process's part of one batch: images FP32 [N,28,28] and labels INT64 [N]."""
    generator = np.random.default_rng(rank)
    rows = BATCH // ranks
    return generator.random((rows, 28, 28), np.float32), generator.integers(0, 10, rows)
