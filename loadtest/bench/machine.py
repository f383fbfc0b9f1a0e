"""The machine that a bench ran on, as its report describes it."""

import os
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import psutil

_LIBRARIES = ("torch", "torchserve", "tensorflow", "grpcio", "fastapi", "uvicorn", "uvloop", "aiohttp", "numpy")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


class Machine(msgspec.Struct, frozen=True):
    """`load` is the load average of one minute before the run; values that cannot be read are empty."""

    cores: int
    processor: str
    governor: str
    memory_bytes: int
    load: float
    system: str
    python: str
    libraries: Mapping[str, str]
    commit: str

    @classmethod
    def read(cls) -> "Machine":
        return cls(
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            processor=_processor(),
            governor=_read(_GOVERNOR),
            memory_bytes=psutil.virtual_memory().total,
            load=os.getloadavg()[0],
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            libraries={name: found for name in _LIBRARIES if (found := _version(name))},
            commit=_commit(),
        )


def _processor() -> str:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return ""


def _version(name: str) -> str:
    with suppress(PackageNotFoundError):
        return version(name)
    return ""


def _commit() -> str:
    """The commit of the sources, marked when files differ from it; empty outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    with suppress(OSError, subprocess.SubprocessError):
        folder = Path(__file__).resolve().parent
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    return ""
