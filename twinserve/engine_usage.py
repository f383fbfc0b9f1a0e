"""Measures what the engines use beside memory, and tells the gateway by a file."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from contracts.engine_usage import EngineUsage
from twinserve.engine_cpu import CpuMeter, cpu_seconds
from twinserve.engine_gpu import Gpus
from twinserve.engine_memory import PROC, members, replace_file


class UsageMeter:
    """Writes `path` at each `measure`, and takes it away when the `with` block ends."""

    def __init__(self, path: Path, gpus: Gpus, proc: Path = PROC) -> None:
        self._path = path
        self._gpus = gpus
        self._proc = proc
        self._cpu = CpuMeter()

    def __enter__(self) -> Self:
        self._path.unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._path.unlink(missing_ok=True)

    def measure(self, groups: Mapping[str, int]) -> None:
        """Look at the engines' process groups, by name, and write down what they use. Raises OSError.

        An engine without a process keeps what it has used.
        """
        found = members(frozenset(groups.values()), self._proc)
        pids = {engine: frozenset(found.get(group, ())) for engine, group in groups.items()}
        usage = EngineUsage(
            cpu_seconds={
                engine: self._cpu.add(engine, group, cpu_seconds(pids[engine], self._proc))
                for engine, group in groups.items()
            },
            gpu_memory_bytes=self._gpus.memory_bytes(pids),
            gpus=self._gpus.usages(),
        )
        replace_file(self._path, msgspec.json.encode(usage))
