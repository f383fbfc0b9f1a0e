"""What /metrics passes on about engines: named alike, and absent where nothing is known."""

from prometheus_client import CollectorRegistry, generate_latest

from contracts.engine_usage import EngineUsage, GpuUsage
from gateway.engine_figures import EngineFigures, make_counters, make_figures, no_counters
from gateway.engines.own_counters import OwnCounters
from gateway.settings import Settings
from tests.unit.gateway.test_metrics import values

COUNTERS = {"torchserve": OwnCounters(42, 2, 2.5, 0.25), "tfserving": OwnCounters(40, 0, 1.5, None)}
USAGE = EngineUsage(
    {"torchserve": 12.5, "tfserving": 3.25},
    {"torchserve": 1_000_000},
    {"0": GpuUsage(0.5, 1234.5), "1": GpuUsage(None, None)},
)


def told(figures: EngineFigures) -> dict[tuple[str, tuple[str, ...]], float]:
    registry = CollectorRegistry()
    registry.register(figures)
    return values(generate_latest(registry).decode())


def test_every_figure_by_its_name() -> None:
    reported = "twinserve_engine_reported"
    assert told(EngineFigures(lambda: USAGE, lambda: COUNTERS)) == {
        (f"{reported}_requests_total", ("torchserve",)): 42,
        (f"{reported}_requests_total", ("tfserving",)): 40,
        (f"{reported}_failures_total", ("torchserve",)): 2,
        (f"{reported}_failures_total", ("tfserving",)): 0,
        (f"{reported}_inference_seconds_total", ("torchserve",)): 2.5,
        (f"{reported}_inference_seconds_total", ("tfserving",)): 1.5,
        (f"{reported}_queue_seconds_total", ("torchserve",)): 0.25,
        ("twinserve_engine_cpu_seconds_total", ("torchserve",)): 12.5,
        ("twinserve_engine_cpu_seconds_total", ("tfserving",)): 3.25,
        ("twinserve_engine_gpu_memory_bytes", ("torchserve",)): 1_000_000,
        ("twinserve_gpu_utilisation_ratio", ("0",)): 0.5,
        ("twinserve_gpu_energy_joules_total", ("0",)): 1234.5,
    }


def test_what_is_not_known_is_absent() -> None:
    assert told(EngineFigures(EngineUsage, no_counters)) == {}


def test_nobody_reads_where_the_settings_say_never() -> None:
    assert make_counters(Settings(engine_counters_interval_s=0)) is None
    assert make_counters(Settings()) is not None
    assert told(make_figures(Settings(), None)) == {}
