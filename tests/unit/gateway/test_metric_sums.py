"""What is added late counts as what prometheus_client counts at once."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.samples import Sample

from gateway.endpoint_metrics import EndpointMetrics
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
    queue = LateCount(Gauge("queue", "q", ("engine",), registry=registry))
    for _ in range(3):
        requests.add(("mnist", 1))
        queue.add(("torchserve",))
    queue.add(("torchserve",), -3)
    labels = {"model": "mnist", "version": "1"}
    assert registry.get_sample_value("requests_total", labels) is None
    for _ in range(2):
        requests.flush()
        queue.flush()
    assert registry.get_sample_value("requests_total", labels) == 3
    assert registry.get_sample_value("queue", {"engine": "torchserve"}) == 0


def test_work_in_flight_tells_its_integral_whenever_it_is_flushed() -> None:
    registry = CollectorRegistry()
    moments = iter((10.0, 12.0, 13.0, 14.0, 20.0))
    work = EndpointMetrics(registry, lambda: next(moments))
    labels = {"engine": "torchserve"}
    work.in_flight_changed("torchserve/a", 3)  # at 10
    work.in_flight_changed("torchserve/a", -1)  # at 12: 6 request-seconds so far
    work.flush()  # at 13: 2 more
    assert registry.get_sample_value("twinserve_inflight", labels) == 2
    assert registry.get_sample_value("twinserve_inflight_seconds_total", labels) == 8
    work.in_flight_changed("torchserve/a", -2)  # at 14: 2 more
    work.flush()
    assert registry.get_sample_value("twinserve_inflight", labels) == 0
    assert registry.get_sample_value("twinserve_inflight_seconds_total", labels) == 10
    of_endpoint = labels | {"endpoint": "torchserve/a"}
    assert registry.get_sample_value("twinserve_endpoint_requests_total", of_endpoint) == 3
