"""What engines use beside memory: processor time from /proc, GPUs from a library that pretends to be NVML."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from contracts.engine_usage import EngineUsage, GpuUsage
from gateway.measured_file import MeasuredFile
from twinserve.engine_cpu import CpuMeter, cpu_seconds
from twinserve.engine_gpu import MODULE, Gpus
from twinserve.engine_memory import can_measure
from twinserve.engine_usage import UsageMeter

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class NvmlError(Exception):
    """As NVML's."""


def nvml(runs: Iterable[tuple[int, int | None]] = (), has_driver: bool = True, refuses: Iterable[str] = ()) -> Any:
    """Two devices by the real library's function names; processes (pid, bytes) run on the second."""

    def telling(name: str, value: Any) -> Any:
        def tell(*device: int) -> Any:
            if name in refuses or not has_driver:
                raise NvmlError(name)
            return value(*device)

        return tell

    running = [SimpleNamespace(pid=pid, usedGpuMemory=size_bytes) for pid, size_bytes in runs]
    functions = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetComputeRunningProcesses": lambda device: running if device == 1 else [],
        "nvmlDeviceGetUtilizationRates": lambda device: SimpleNamespace(gpu=30 + device, memory=1),
        "nvmlDeviceGetTotalEnergyConsumption": lambda device: 1500 * (device + 1),
    }
    return SimpleNamespace(NVMLError=NvmlError, **{name: telling(name, value) for name, value in functions.items()})


def install(monkeypatch: pytest.MonkeyPatch, library: Any) -> Gpus:
    monkeypatch.setitem(sys.modules, MODULE, library)
    return Gpus()


def test_devices_tell_how_busy_they_are_and_what_they_took(monkeypatch: pytest.MonkeyPatch) -> None:
    assert install(monkeypatch, nvml()).usages() == {"0": GpuUsage(0.3, 1.5), "1": GpuUsage(0.31, 3.0)}


def test_memory_is_that_of_an_engines_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = install(monkeypatch, nvml([(7, 700), (8, 50), (9, 3), (10, None)]))
    asked = {"torchserve": frozenset((7, 8)), "tfserving": frozenset((10, 11)), "none": frozenset[int]()}
    assert gpus.memory_bytes(asked) == {"torchserve": 750}


@pytest.mark.parametrize(
    ("refused", "left"),
    [
        ("nvmlDeviceGetUtilizationRates", GpuUsage(None, 1.5)),
        ("nvmlDeviceGetTotalEnergyConsumption", GpuUsage(0.3, None)),
    ],
)
def test_what_one_figure_lacks_the_others_have(monkeypatch: pytest.MonkeyPatch, refused: str, left: GpuUsage) -> None:
    gpus = install(monkeypatch, nvml([(7, 700)], refuses=[refused]))
    assert gpus.usages()["0"] == left
    assert gpus.memory_bytes({"torchserve": frozenset((7,))}) == {"torchserve": 700}


@pytest.mark.parametrize("library", [None, nvml(has_driver=False)], ids=["no package", "no driver"])
def test_without_the_package_or_the_driver_there_is_nothing(monkeypatch: pytest.MonkeyPatch, library: Any) -> None:
    gpus = install(monkeypatch, library)
    assert gpus.usages() == {}
    assert gpus.memory_bytes({"torchserve": frozenset((7,))}) == {}
    monkeypatch.setitem(sys.modules, MODULE, nvml())
    assert gpus.usages() == {}, "it is asked for once only"


def stat(proc: Path, pid: int, *ticks: int) -> None:
    """A process with these times: its own in user and kernel mode, and those of its ended children."""
    folder = proc / str(pid)
    folder.mkdir(parents=True, exist_ok=True)
    before = "S 1 2 3 4 5 6 7 8 9 10"
    (folder / "stat").write_text(f"{pid} (a name) with) brackets) {before} {' '.join(map(str, ticks))} 20 0 1 0\n")


def test_processor_time_counts_ended_children_too(tmp_path: Path) -> None:
    stat(tmp_path, 7, 100, 20, 3, 1)
    stat(tmp_path, 8, 10, 0, 0, 0)
    assert cpu_seconds((7, 8, 9), tmp_path) == pytest.approx(134 / TICKS_PER_S)


@pytest.mark.skipif(not can_measure(), reason="measured from Linux's /proc")
def test_processor_time_of_this_process() -> None:
    at_least_s = sum(os.times()[:2])
    assert cpu_seconds((os.getpid(),)) >= at_least_s - 2 / TICKS_PER_S


def test_processor_time_never_falls_and_goes_on_over_restarts() -> None:
    meter = CpuMeter()
    told = [meter.add("torchserve", group, used_s) for group, used_s in ((5, 2.0), (5, 1.0), (5, 3.0), (9, 0.5))]
    assert told == [2.0, 2.0, 3.0, 3.5]
    assert meter.add("tfserving", 6, 1.0) == 1.0
    assert meter.add("torchserve", 9, 0.0) == 3.5, "it is gone"


@pytest.mark.skipif(not can_measure(), reason="measured from Linux's /proc")
def test_the_gateway_reads_what_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = install(monkeypatch, nvml([(os.getpid(), 700)]))
    path = tmp_path / "usage.json"
    path.write_text("of an earlier run")
    reader = MeasuredFile(path, EngineUsage)
    with UsageMeter(path, gpus) as meter:
        assert reader.read() == EngineUsage()
        meter.measure({"torchserve": os.getpgid(0)})
        told = reader.read()
        assert told.cpu_seconds["torchserve"] > 0
        assert told.gpu_memory_bytes == {"torchserve": 700}
        assert told.gpus["1"] == GpuUsage(0.31, 3.0)
    assert not list(tmp_path.iterdir())
