"""Data parallel training on one machine: the same steps by one process and by two that share each batch."""

import contextlib
import functools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.findings import Finding
from workers.factors.task import Task, attempt

BATCH = 64
"""Images of one step, over all processes together."""

STEPS, QUICK_STEPS, WARM_STEPS = 200, 20, 5
_TIMEOUT_S = 240.0
_LOOPBACK = "127.0.0.1"


def measure_ranks(task: Task, module: str, means: str) -> Iterator[Finding]:
    """Images a second of one and of two processes, and the speed-up.

    `python -m <module> RANK RANKS THREADS STEPS FOLDER ADDRESSES` trains and, as rank 0, prints images a second.
    """
    steps = QUICK_STEPS if task.is_quick else STEPS
    how = f"{means}; {steps} steps of {BATCH} images in all, after {WARM_STEPS} that do not count"
    seen: dict[tuple[int, int], float] = {}
    for ranks, threads in ((1, 1), (1, 2), (2, 1)):
        what = f"{ranks} process{'es' if ranks > 1 else ''} of {threads} thread{'s' if threads > 1 else ''}"
        folder = task.scratch / f"{ranks}-{threads}"
        run = functools.partial(_run, module, ranks, threads, steps, folder)
        finding = attempt(what, "images/s", how, run)
        yield finding
        if isinstance(finding.value, float):
            seen[ranks, threads] = finding.value
    if {(1, 1), (2, 1)} <= seen.keys():
        speed_up = seen[2, 1] / seen[1, 1]
        yield Finding("speed-up of the second process", f"{how}; over one process of 1 thread", speed_up, "times")


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


def _run(module: str, ranks: int, threads: int, steps: int, folder: Path) -> float:
    folder.mkdir(exist_ok=True)
    addresses = ",".join(f"{_LOOPBACK}:{port}" for port in _free_ports(ranks))
    # Neither framework may use more than its threads, or listen anywhere but on loopback.
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "GLOO_SOCKET_IFNAME": "lo"}
    with contextlib.ExitStack() as stack:
        running = []
        for rank in range(ranks):
            arguments = [str(rank), str(ranks), str(threads), str(steps), str(folder), addresses]
            process = _start(module, arguments, environment)
            running.append(stack.enter_context(process))
            stack.callback(process.kill)
        # The others first: rank 0 ends last only if they did not fail.
        outputs = [process.communicate(timeout=_TIMEOUT_S) for process in running]
    for process, (_, log) in zip(running, outputs, strict=True):
        if process.returncode:
            lines = [line for line in log.splitlines() if line.strip()]
            raise RuntimeError(f"a process ended with {process.returncode}: {lines[-1] if lines else 'no message'}")
    return float(outputs[0][0].splitlines()[-1])


def _start(module: str, arguments: Sequence[str], environment: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((_LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
