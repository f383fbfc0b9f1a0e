"""Metrics about the engines that the gateway only passes on: what they count themselves, and what they use.

They are read when /metrics is, and are the same whichever gateway process of a host is asked.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from contracts.engine_usage import EngineUsage
from contracts.tfserving_command import MONITORING_PATH
from gateway.engines.counter_pages import CounterPage, CounterPages
from gateway.engines.own_counters import OwnCounters, read_tfserving, read_torchserve
from gateway.engines.tfserving import TfServing
from gateway.engines.torchserve import TorchServe
from gateway.measured_file import MeasuredFile
from gateway.metrics import MULTIPROCESS_VARIABLE
from gateway.settings import Settings

_ENGINE = ("engine",)
_GPU = ("gpu",)


def make_counters(settings: Settings) -> CounterPages | None:
    """The reader of what the engines count themselves; None where the settings say never."""
    if not settings.engine_counters_interval_s:
        return None
    pages = (
        *(
            CounterPage(TorchServe.name, f"http://{server.at(2)}/metrics", read_torchserve)
            for server in settings.torchserve_servers
        ),
        *(
            CounterPage(TfServing.name, f"http://{server.at(1)}{MONITORING_PATH}", read_tfserving)
            for server in settings.tfserving_servers
        ),
    )
    shared = os.environ.get(MULTIPROCESS_VARIABLE)
    return CounterPages(pages, settings.engine_counters_interval_s, Path(shared) if shared else None)


def make_figures(settings: Settings, counters: CounterPages | None) -> "EngineFigures":
    """What /metrics passes on; without `counters` not what the engines count."""
    read_usage = MeasuredFile(settings.engine_usage_file, EngineUsage).read
    return EngineFigures(read_usage, counters.counters if counters else no_counters)


def no_counters() -> Mapping[str, OwnCounters]:
    """Where nobody reads the engines' pages."""
    return {}


class EngineFigures(Collector):
    """What is not known has no sample."""

    def __init__(
        self, read_usage: Callable[[], EngineUsage], read_counters: Callable[[], Mapping[str, OwnCounters]]
    ) -> None:
        self._read_usage = read_usage
        self._read_counters = read_counters

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        yield from _reported(self._read_counters())
        yield from _used(self._read_usage())


def _reported(counters: Mapping[str, OwnCounters]) -> Iterable[Metric]:
    prefix = "twinserve_engine_reported"
    requests = CounterMetricFamily(
        f"{prefix}_requests_total", "Inference requests by the engine's own count", labels=_ENGINE
    )
    failures = CounterMetricFamily(
        f"{prefix}_failures_total", "Requests that failed by no fault of the client's, by its own count", labels=_ENGINE
    )
    inference = CounterMetricFamily(
        f"{prefix}_inference_seconds_total", "Seconds that answered requests took, by its own count", labels=_ENGINE
    )
    queue = CounterMetricFamily(
        f"{prefix}_queue_seconds_total", "Seconds of them spent waiting, by its own count", labels=_ENGINE
    )
    for engine, counted in counters.items():
        requests.add_metric((engine,), counted.requests)
        failures.add_metric((engine,), counted.failures)
        inference.add_metric((engine,), counted.inference_s)
        if counted.queue_s is not None:
            queue.add_metric((engine,), counted.queue_s)
    return requests, failures, inference, queue


def _used(usage: EngineUsage) -> Iterable[Metric]:
    cpu = CounterMetricFamily(
        "twinserve_engine_cpu_seconds_total", "Processor time of an engine with all its processes", labels=_ENGINE
    )
    memory = GaugeMetricFamily(
        "twinserve_engine_gpu_memory_bytes", "Memory on GPUs of an engine with all its processes", labels=_ENGINE
    )
    busy = GaugeMetricFamily("twinserve_gpu_utilisation_ratio", "Share of time in which a GPU computed", labels=_GPU)
    energy = CounterMetricFamily("twinserve_gpu_energy_joules_total", "Since the driver was loaded", labels=_GPU)
    for engine, seconds in usage.cpu_seconds.items():
        cpu.add_metric((engine,), seconds)
    for engine, size_bytes in usage.gpu_memory_bytes.items():
        memory.add_metric((engine,), size_bytes)
    for number, gpu in usage.gpus.items():
        if gpu.utilisation_ratio is not None:
            busy.add_metric((number,), gpu.utilisation_ratio)
        if gpu.energy_joules is not None:
            energy.add_metric((number,), gpu.energy_joules)
    return cpu, memory, busy, energy
