"""Metrics of single endpoints, and those of engines that are sums of them.

An endpoint that is gone is not told of any more. With several gateway processes prometheus_client keeps the values in
files, from which nothing can be removed: so what is told is looked through for endpoints that are not there.
"""

from collections.abc import Callable, Iterable, Set
from time import perf_counter
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gateway.core.ports import engine_of


class EndpointMetrics:
    """Keeps plain numbers until `flush`. `clock` tells seconds."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = perf_counter) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"twinserve_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, together: Literal["livesum", "livemax"], *labels: str) -> Gauge:
            return Gauge(f"twinserve_{name}", text, labels, registry=registry, multiprocess_mode=together)

        self._clock = clock
        self._work: dict[str, _Work] = {}
        self._known: set[str] = set()
        endpoint = ("engine", "endpoint")
        self._up = gauge("endpoint_up", "1 while the endpoint answers probes", "livemax", *endpoint)
        self._requests = counter("endpoint_requests_total", "Requests sent to an endpoint, by parts", *endpoint)
        self._in_flight = gauge("endpoint_inflight", "Requests an endpoint is working on", "livesum", *endpoint)
        self._engine_in_flight = gauge("inflight", "Requests an engine is working on", "livesum", "engine")
        integral = "Integral of twinserve_inflight over time"
        self._engine_seconds = counter("inflight_seconds_total", integral, "engine")

    @property
    def known(self) -> Set[str]:
        """The endpoints there are, as far as this process knows."""
        return self._known

    def in_flight_changed(self, endpoint: str, requests: int) -> None:
        """See gateway.core.ports.Events."""
        at = self._clock()
        work = self._work.get(endpoint)
        if work is None:
            work = self._work[endpoint] = _Work(endpoint)
        work.area += work.now * (at - work.since)
        work.since = at
        work.now += requests
        if requests > 0:
            work.begun += requests

    def seen(self, endpoint: str, is_up: bool) -> None:
        """See gateway.core.ports.Events.endpoint_seen."""
        if endpoint not in self._known:
            self._known.add(endpoint)
            self.in_flight_changed(endpoint, 0)  # there from the beginning, at 0
        self._up.labels(engine_of(endpoint), endpoint).set(is_up)

    def left(self, endpoint: str) -> None:
        """See gateway.core.ports.Events.endpoint_left. What it has yet to answer is counted as its engine's."""
        self._known.discard(endpoint)
        self._up.labels(engine_of(endpoint), endpoint).set(0)

    def flush(self) -> None:
        """Move over what is due, up to this moment."""
        for endpoint, work in self._work.items():
            self.in_flight_changed(endpoint, 0)
            labels, change = (work.engine, endpoint), work.now - work.told
            self._requests.labels(*labels).inc(work.begun)
            self._in_flight.labels(*labels).inc(change)
            self._engine_in_flight.labels(work.engine).inc(change)
            self._engine_seconds.labels(work.engine).inc(work.area)
            work.told, work.begun, work.area = work.now, 0, 0.0


class _Work:
    """Of one endpoint: requests it has now and had when last told, those begun since, and the area under `now`."""

    __slots__ = ("area", "begun", "engine", "now", "since", "told")

    def __init__(self, endpoint: str) -> None:
        self.engine = engine_of(endpoint)
        self.now = self.told = self.begun = 0
        self.area = self.since = 0.0


class WithoutGone(Collector):
    """What another collector tells, without endpoints that are not among `known`."""

    def __init__(self, collector: Collector | CollectorRegistry, known: Set[str]) -> None:
        self._collector = collector
        self._known = known

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        told = {None, *self._known}
        for metric in self._collector.collect():
            metric.samples = [sample for sample in metric.samples if sample.labels.get("endpoint") in told]
            yield metric
