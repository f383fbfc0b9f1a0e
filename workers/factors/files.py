"""Serialization and parity, measured alike for every format of a framework: size, time to load, answers."""

import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from contracts.findings import Finding
from workers.factors.durations import median_ms
from workers.factors.forwards import Forward
from workers.factors.reference import compare_format, reference_of
from workers.factors.task import Task, attempt

LOADS, QUICK_LOADS = 11, 3


class Written(Protocol):
    """A format, as far as it can be told without its framework."""

    @property
    def name(self) -> str: ...

    @property
    def suffix(self) -> str: ...

    @property
    def load(self) -> Callable[[Path], Forward]: ...


def size_bytes(path: Path) -> int:
    """Of a file, or of all files in a folder."""
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
    )


def path_of(found: Written, task: Task) -> Path:
    """Where a format is written."""
    return task.scratch / f"{found.name.lower().replace(' ', '-')}{found.suffix}"


def measure_files(task: Task, formats: Iterable[tuple[Written, Callable[[Path], None]]]) -> Iterator[Finding]:
    """Size and time to load of each format; beside each, how it is written."""
    loads = QUICK_LOADS if task.is_quick else LOADS
    for found, write in formats:
        path = path_of(found, task)
        yield attempt(f"{found.name}: size", "MB", "bytes on disk", functools.partial(_written_mb, write, path))
        if path.exists():
            how = f"from the page cache until it can answer, framework already imported; median of {loads}"
            load = functools.partial(median_ms, functools.partial(found.load, path), loads)
            yield attempt(f"{found.name}: load", "ms", how, load)


def measure_parity(task: Task, formats: Iterable[tuple[Written, Callable[[Path], None]]]) -> Iterator[Finding]:
    """How far each format's answers, written and loaded again, are from the reference."""
    reference = reference_of(task)
    for found, write in formats:
        path = path_of(found, task)
        yield from compare_format(found.name, functools.partial(_write_and_load, found, write, path), reference)


def _written_mb(write: Callable[[Path], None], path: Path) -> float:
    write(path)
    return size_bytes(path) / 1e6


def _write_and_load(found: Written, write: Callable[[Path], None], path: Path) -> Forward:
    write(path)
    return found.load(path)
