"""What /metrics shows once everything has happened: the names, labels and label values that queries may rely on."""

from collections import defaultdict
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

from contracts.engine_usage import EngineUsage, GpuUsage
from gateway.core.errors import ServingError
from gateway.core.mirror import DROPPED, ERROR, MATCH, MISMATCH
from gateway.core.ports import VersionState
from gateway.core.usage import Stages, UsageBook
from gateway.engine_figures import EngineFigures
from gateway.engines.own_counters import OwnCounters
from gateway.metrics import Metrics

Exposed = dict[str, dict[str, set[str]]]
"""Label values by label by sample name."""


def outcomes_of_failures() -> set[str]:
    """Every label `outcome` but ok."""
    return {kind.outcome for kind in _kinds(ServingError)}


def _kinds(kind: type[ServingError]) -> Iterator[type[ServingError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds(narrower)


def _figures() -> EngineFigures:
    usage = EngineUsage({"torchserve": 1.5}, {"torchserve": 1_000_000}, {"0": GpuUsage(0.5, 100.0)})
    return EngineFigures(lambda: usage, lambda: {"torchserve": OwnCounters(3, 1, 0.5, 0.1)})


def exposed_metrics() -> Exposed:
    """After one of each event of a gateway's."""
    metrics = Metrics(UsageBook(), "1.2.3", lambda: {"torchserve": 1_000_000}, (_figures(),))
    metrics.accepted("mnist", 2)
    metrics.answered("mnist", 2)
    metrics.failed("mnist", 2)
    metrics.batch_done("torchserve", "mnist", 2, rows=8)
    metrics.endpoint_seen("torchserve", is_up=True)
    metrics.in_flight_changed("torchserve", 1)
    metrics.queue_changed("torchserve", 1)
    metrics.engine_seen("torchserve", "torchserve", is_up=True)
    metrics.version_seen("mnist", 2, "torchserve", VersionState.READY)
    for result in (MATCH, MISMATCH, ERROR, DROPPED):
        metrics.mirrored("mnist", 2, result, 0.001)
    metrics.swap_phase_done("mnist", "load", 1.0)
    metrics.request_answered("mnist", 2, "torchserve", "oip_http", Stages(0.001, 0.001, 0.001, 0.001, 0.004))
    for outcome in outcomes_of_failures():
        metrics.request_failed("mnist", "2", "torchserve", "oip_http", outcome, 0.001)
    found: Exposed = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            labels = found.setdefault(sample.name, defaultdict(set))
            for label, value in sample.labels.items():
                labels[label].add(value)
    return found
