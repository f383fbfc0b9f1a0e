"""One small C++ operator, max(x, 0) squared: built, called, exported, and the export loaded where nobody knows it."""

import functools
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.findings import Finding
from workers.factors.durations import median_ms
from workers.factors.task import Task, attempt, reason_of

_TIMEOUT_S = 300.0
_CALLS = 200
_ROWS = 1 << 16

Operator = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Extension:
    """How a framework builds and holds the operator.

    `flags` are the compiler's; `load` makes an operator of the library; `composed` is the same of its own operators;
    `export` writes an artifact that uses it. `python -m <served> ARTIFACT [LIBRARY]` loads that and asks it.
    """

    source: Path
    flags: Sequence[str]
    load: Callable[[Path], Operator]
    composed: Operator
    export: Callable[[Path], str]
    served: str


def measure_extension(task: Task, extension: Callable[[], Extension]) -> Iterator[Finding]:
    """Build time, rightness, speed, and who can load an export of it."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        yield Finding("a C++ operator", "", why_not="no C++ compiler (g++ or c++) on PATH")
        return
    parts, library = extension(), task.scratch / "relu_squared.so"
    lines = sum(1 for line in parts.source.read_text().splitlines() if line.strip())
    yield Finding("code of the operator", f"lines of {parts.source.name} that are not blank", lines, "lines")
    how = f"wall time of {Path(compiler).name} -O2 on one file, one process"
    yield attempt("build", "s", how, functools.partial(_build, compiler, parts, library))
    if not library.exists():
        return
    ready: list[Operator] = []
    how = f"largest difference from numpy over {_ROWS} numbers"
    yield attempt("answers", "", how, lambda: _check(parts.load(library), ready))
    how = f"median of {_CALLS} calls over {_ROWS} numbers, numpy to numpy"
    if ready:
        yield attempt("a call of the operator", "ms", how, lambda: _speed_ms(ready[0]))
        yield attempt(
            "a call of the same, composed of two of the framework's", "ms", how, lambda: _speed_ms(parts.composed)
        )
        yield from _served(task, parts, library)


def _served(task: Task, parts: Extension, library: Path) -> Iterator[Finding]:
    how = "a fresh process loads what was exported, and asks it"
    exported = attempt("export", "", "for the engine's format", lambda: parts.export(task.scratch / "artifact"))
    yield exported
    if exported.value is None:
        return
    for what, more in (("knows nothing of the library", []), ("has loaded the library", [str(library)])):
        command = [sys.executable, "-m", parts.served, str(task.scratch / "artifact"), *more]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        answer = lines[-1] if lines else f"ended with {done.returncode}"
        yield Finding(f"the export in a process that {what}", how, answer)


def tell_served(load: Callable[[Path, Path | None], Operator]) -> int:
    """What that fresh process does; returns the exit code."""
    library = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    try:
        _check(load(Path(sys.argv[1]), library), [])
    except Exception as error:  # noqa: BLE001 - the kind of failure is the finding
        sys.stdout.write(f"fails: {reason_of(error)}\n")
    else:
        sys.stdout.write("answers rightly\n")
    return 0


def _build(compiler: str, parts: Extension, library: Path) -> float:
    command = [compiler, "-O2", "-shared", "-fPIC", str(parts.source), "-o", str(library), *parts.flags]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr.strip()]
        raise RuntimeError(errors[0])
    return time.perf_counter() - started


def _numbers() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(_ROWS).astype(np.float32)


def _check(operator: Operator, ready: list[Operator]) -> float:
    given = _numbers()
    furthest = float(np.abs(operator(given) - np.maximum(given, 0) ** 2).max())
    if furthest > 1e-6:
        raise ValueError(f"off by {furthest:.3g}")
    ready.append(operator)
    return furthest


def _speed_ms(operator: Operator) -> float:
    given = _numbers()
    operator(given)
    return median_ms(lambda: operator(given), _CALLS)
