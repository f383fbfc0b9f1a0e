"""What answering takes of the machine: processor, memory, and GPUs where NVML knows them."""

import importlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from loadtest.bench.children import descendants
from loadtest.bench.usage import cpu_between, cpu_s, resident_bytes
from loadtest.compare.trials import Usage


class Gpus:
    """NVIDIA's devices, by NVML; none where its library or its driver is missing."""

    def __init__(self) -> None:
        self._library: Any = None
        self._devices: list[Any] = []
        with suppress(ImportError):
            library = importlib.import_module("pynvml")
            with suppress(library.NVMLError):
                library.nvmlInit()
                self._devices = [library.nvmlDeviceGetHandleByIndex(n) for n in range(library.nvmlDeviceGetCount())]
                self._library = library

    def energy_j(self) -> float | None:
        """Joules since the driver was loaded, of all devices; None where one does not tell."""
        if not self._devices:
            return None
        try:
            return float(sum(self._library.nvmlDeviceGetTotalEnergyConsumption(each) for each in self._devices)) / 1000
        except self._library.NVMLError:
            return None

    def memory_bytes(self, pids: frozenset[int]) -> int | None:
        """What these processes hold on all devices; None without a device, or where it does not tell."""
        if not self._devices:
            return None
        try:
            held = [self._library.nvmlDeviceGetComputeRunningProcesses(device) for device in self._devices]
        except self._library.NVMLError:
            return None
        return sum(run.usedGpuMemory or 0 for running in held for run in running if run.pid in pids)

    def names(self) -> tuple[str, ...]:
        """The devices' names."""
        found = (self._library.nvmlDeviceGetName(device) for device in self._devices)
        return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in found)


class Reading:
    """Reads what processes, by name, use from one moment to another."""

    def __init__(self, gpus: Gpus, processes: Mapping[str, int]) -> None:
        self._gpus = gpus
        self._processes = processes
        self._cpu_s = cpu_s(processes)
        self._energy_j = gpus.energy_j()

    def finish(self, inferences: int) -> Usage:
        """What that many inferences took since this was made. Memory is that of now."""
        energy_j = self._gpus.energy_j()
        used = cpu_between(self._cpu_s, cpu_s(self._processes))
        pids = [pid for root in self._processes.values() for pid in (root, *(p.pid for p in descendants(root)))]
        return Usage(
            inferences=inferences,
            cpu_s=used,
            resident_bytes=resident_bytes(self._processes),
            gpu_memory_bytes=self._gpus.memory_bytes(frozenset(pids)) if pids else None,
            gpu_energy_j=None if energy_j is None or self._energy_j is None else energy_j - self._energy_j,
        )
