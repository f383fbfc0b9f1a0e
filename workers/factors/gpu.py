"""What a process takes of a GPU: a child does one small thing there and says how much is gone."""

import functools
import importlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from contracts.findings import Finding
from workers.factors.task import attempt

_TIMEOUT_S = 120.0
_HOW = "a fresh process adds two numbers on the GPU; used memory of the device by NVML, after less before"


def measure_gpu(module: str, names: tuple[str, ...], gpus: int) -> Iterator[Finding]:
    """Memory taken, for each way that `python -m <module> NAME` knows; or that there is no GPU here."""
    for name in names:
        what = f"GPU memory taken at the start, {name}"
        if not gpus:
            yield Finding(what, _HOW, why_not="no GPU that this framework sees on this machine")
        else:
            yield attempt(what, "MB", _HOW, functools.partial(_taken_mb, module, name))


def used_mb() -> float:
    """Of the first GPU, by NVML. Raises ModuleNotFoundError, pynvml.NVMLError."""
    # nvidia-ml-py, of the extra `load`; it has no types.
    pynvml: Any = importlib.import_module("pynvml")
    pynvml.nvmlInit()
    return float(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used) / 1e6


def _taken_mb(module: str, name: str) -> float:
    done = subprocess.run(
        [sys.executable, "-m", module, name], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
    )
    return float(done.stdout.splitlines()[-1])
