"""What is read of GPUs, from a library that pretends; and of processes, from this one."""

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from loadtest.compare.resources import Gpus, Reading


class NvmlError(Exception):
    """As NVML's."""


def nvml(pid: int, *, has_driver: bool = True, tells_energy: bool = True) -> Any:
    """Two devices, whose counters of energy are 1 and 2 J further each time they are read."""
    spent_mj = [5000, 7000]

    def init() -> None:
        if not has_driver:
            raise NvmlError

    def energy(device: int) -> int:
        if not tells_energy:
            raise NvmlError
        spent_mj[device] += 1000 * (device + 1)
        return spent_mj[device]

    runs = [SimpleNamespace(pid=pid, usedGpuMemory=700), SimpleNamespace(pid=pid + 1, usedGpuMemory=50)]
    return SimpleNamespace(
        NVMLError=NvmlError,
        nvmlInit=init,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda index: f"GPU {index}",
        nvmlDeviceGetTotalEnergyConsumption=energy,
        nvmlDeviceGetComputeRunningProcesses=lambda index: runs if index else [],
    )


def test_energy_is_of_all_devices_and_memory_of_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(os.getpid()))
    gpus = Gpus()
    assert gpus.names() == ("GPU 0", "GPU 1")
    usage = Reading(gpus, {"us": os.getpid()}).finish(10)
    assert usage.gpu_memory_bytes == 700
    assert usage.gpu_energy_j == pytest.approx(3.0)
    assert usage.inferences == 10
    assert usage.cpu_s["us"] >= 0
    assert usage.resident_bytes["us"] > 1_000_000


def test_what_a_device_does_not_tell_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(1, tells_energy=False))
    assert Reading(Gpus(), {}).finish(1).gpu_energy_j is None


def test_without_a_driver_or_the_library_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (nvml(1, has_driver=False), None):
        monkeypatch.setitem(sys.modules, "pynvml", module)
        gpus = Gpus()
        assert gpus.names() == ()
        usage = Reading(gpus, {}).finish(1)
        assert (usage.gpu_energy_j, usage.gpu_memory_bytes) == (None, None)
