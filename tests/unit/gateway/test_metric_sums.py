"""What is added late counts as what prometheus_client counts at once."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.samples import Sample

from gateway.metric_sums import BulkHistogram, LateCount, LateObservations

BOUNDS = (0.001, 0.01, 0.1, 1.0)
VALUES = (0.0, 0.0005, 0.001, 0.0010001, 0.05, 0.1, 0.7, 1.0, 1.5, 30.0, 0.05)


def samples(registry: CollectorRegistry) -> list[Sample]:
    found = [sample for family in registry.collect() for sample in family.samples]
    return [sample for sample in found if not sample.name.endswith("_created")]


def test_late_observations_fill_the_same_buckets() -> None:
    at_once, late = CollectorRegistry(), CollectorRegistry()
    witness = Histogram("seconds", "s", ("engine",), buckets=BOUNDS, registry=at_once).labels("torchserve")
    bulk = BulkHistogram("seconds", "s", ("engine",), buckets=BOUNDS, registry=late)
    observations = LateObservations(bulk, ("torchserve",), BOUNDS)
    for half in (VALUES[:5], VALUES[5:]):
        for value in half:
            witness.observe(value)
            observations.observe(value)
        observations.flush()
    observations.flush()
    assert samples(late) == samples(at_once)


def test_late_counts_are_there_after_a_flush_and_not_twice() -> None:
    registry = CollectorRegistry()
    requests = LateCount(Counter("requests", "r", ("model", "version"), registry=registry))
    in_flight = LateCount(Gauge("inflight", "i", ("engine",), registry=registry))
    for _ in range(3):
        requests.add(("mnist", 1))
        in_flight.add(("torchserve",))
    in_flight.add(("torchserve",), -3)
    labels = {"model": "mnist", "version": "1"}
    assert registry.get_sample_value("requests_total", labels) is None
    for _ in range(2):
        requests.flush()
        in_flight.flush()
    assert registry.get_sample_value("requests_total", labels) == 3
    assert registry.get_sample_value("inflight", {"engine": "torchserve"}) == 0
