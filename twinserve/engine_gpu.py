"""What NVIDIA's devices tell by NVML, through the package nvidia-ml-py; nothing where that or the driver is missing.

Rules: the package is imported when first asked for, and never again where it or its driver is missing. A device that
refuses one figure is still asked for the others.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from contracts.engine_usage import GpuUsage

MODULE = "pynvml"
_MILLIJOULES_PER_J = 1000.0


class Gpus:
    """All devices of this machine. Belongs to one thread."""

    def __init__(self) -> None:
        self._library: Any = None
        self._devices: tuple[Any, ...] | None = None

    def usages(self) -> dict[str, GpuUsage]:
        """Every device by its number; empty without any."""
        return {str(number): self._usage(device) for number, device in enumerate(self._found())}

    def memory_bytes(self, pids_by_engine: Mapping[str, frozenset[int]]) -> dict[str, int]:
        """What each engine's processes hold on all devices together; without those that hold nothing.

        The driver knows processes by their numbers outside of containers: from within one, none may be found.
        """
        held: dict[str, int] = {}
        for device in self._found():
            for run in self._told("nvmlDeviceGetComputeRunningProcesses", device) or ():
                for engine, pids in pids_by_engine.items():
                    if run.pid in pids and run.usedGpuMemory is not None:
                        held[engine] = held.get(engine, 0) + run.usedGpuMemory
        return held

    def _usage(self, device: Any) -> GpuUsage:
        rates = self._told("nvmlDeviceGetUtilizationRates", device)
        energy_mj = self._told("nvmlDeviceGetTotalEnergyConsumption", device)
        return GpuUsage(
            utilisation_ratio=None if rates is None else rates.gpu / 100,
            energy_joules=None if energy_mj is None else energy_mj / _MILLIJOULES_PER_J,
        )

    def _told(self, function: str, device: Any) -> Any:
        """What a function of the library says of a device; None where it refuses."""
        ask: Callable[[Any], Any] = getattr(self._library, function)
        try:
            return ask(device)
        except self._library.NVMLError:
            return None

    def _found(self) -> tuple[Any, ...]:
        if self._devices is None:
            self._devices = self._find()
        return self._devices

    def _find(self) -> tuple[Any, ...]:
        try:
            library = importlib.import_module(MODULE)
        except ImportError:
            return ()
        try:
            library.nvmlInit()
            count = library.nvmlDeviceGetCount()
        except library.NVMLError:
            return ()
        self._library = library
        return tuple(map(self._handle, range(count)))

    def _handle(self, number: int) -> Any:
        """None for a device that is lost; the others keep their numbers."""
        try:
            return self._library.nvmlDeviceGetHandleByIndex(number)
        except self._library.NVMLError:
            return None
