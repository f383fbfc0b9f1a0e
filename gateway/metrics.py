"""Prometheus metrics, named alike for both engines; the names and buckets are part of the published contract.

With several gateway processes (PROMETHEUS_MULTIPROC_DIR is set) any of them answers for all: prometheus_client keeps
the values in files then, and adds them up. What requests add is moved there whenever an engine is probed, so what one
process tells of another is up to a probe interval old.

`Metrics.__init__` is long because it is the list of them: each once, with its name, text and labels.
"""

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from gateway.beginnings import OK, Beginnings
from gateway.core.mirror import DROPPED, ERROR, MATCH, MISMATCH
from gateway.core.ports import VersionState
from gateway.core.usage import Stages, UsageBook
from gateway.endpoint_metrics import EndpointMetrics, WithoutGone
from gateway.metric_sums import BulkHistogram, LateCount, LateObservations

CONTENT_TYPE = CONTENT_TYPE_LATEST
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

# 0.25 ms to 10 s in steps of 1.4: a quantile read from the buckets is off by at most 20 %. The objective (0.25 s, see
# docs/monitoring.md) is a bound itself: whether a quantile is beyond it is read exactly.
LATENCY_BUCKETS_S = tuple(sorted((*(round(0.00025 * 1.4**i, 7) for i in range(32)), 0.25, 10.0)))
_MOST_FRESH = 512
_SWAP_ENDS = ("flip", "failed")
ROW_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


class Metrics:
    """Counts for the core (gateway.core.ports.Events) and for the protocols; `usage` is told what it adds up.

    `twinserve_version` is ours, `read_memory` tells the engines' resident bytes by name. What `passed_on`
    collects is the same whichever gateway process of a host is asked.
    """

    def __init__(
        self,
        usage: UsageBook,
        twinserve_version: str,
        read_memory: Callable[[], Mapping[str, int]],
        passed_on: Sequence[Collector] = (),
    ) -> None:
        self._usage = usage
        self._registry = registry = CollectorRegistry()
        self._facts = (_Facts(twinserve_version, read_memory), *passed_on)
        for facts in self._facts:
            registry.register(facts)
        ProcessCollector(registry=registry)
        version = ("model", "version")
        request = (*version, "engine", "protocol")

        def counter(name: str, text: str, labels: tuple[str, ...]) -> Counter:
            return Counter(f"twinserve_{name}", text, labels, registry=registry)

        def gauge(
            name: str, text: str, labels: tuple[str, ...], together: Literal["livesum", "livemax"] = "livesum"
        ) -> Gauge:
            return Gauge(f"twinserve_{name}", text, labels, registry=registry, multiprocess_mode=together)

        def histogram(
            name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...] = LATENCY_BUCKETS_S
        ) -> BulkHistogram:
            return BulkHistogram(f"twinserve_{name}", text, labels, buckets=buckets, registry=registry)

        self._requests = LateCount(counter("requests_total", "Requests by how they ended", (*request, "outcome")))
        self._seconds = histogram(
            "request_seconds", "From the request's head to its encoded answer, answered requests", request
        )
        self._stages = histogram("stage_seconds", "Where an answered request spent it", ("engine", "version", "stage"))
        self._batch_rows = histogram("batch_rows", "Rows in an engine call", ("engine", "version"), ROW_BUCKETS)
        self._rows = LateCount(counter("rows_total", "Rows answered by engines", (*version, "engine")))
        self._endpoints = EndpointMetrics(registry)
        self._queue_rows = LateCount(gauge("queue_rows", "Rows waiting for an engine", ("engine",)))
        self._engine_up = gauge(
            "engine_up", "1 while an endpoint of the engine answers probes", ("engine", "implementation"), "livemax"
        )
        self._version_state = gauge(
            "version_state", "1 for the state it is in", (*version, "engine", "state"), "livemax"
        )
        self._swaps = histogram(
            "swap_seconds",
            "Phases of promotes and rollbacks",
            ("model", "phase"),
            (*LATENCY_BUCKETS_S, 30.0, 100.0, 300.0),
        )
        self._mirrored = counter("mirror_total", "Copies of requests by what came of them", (*version, "result"))
        self._mirror_diff = gauge("mirror_max_abs_diff", "Largest difference of two engines", version, "livemax")
        self._largest_diff: dict[tuple[str, int], float] = {}
        self._accepted = LateCount(counter("ledger_accepted_total", "Requests taken on", version))
        self._answered = LateCount(counter("ledger_answered_total", "Requests answered", version))
        failed = "Requests failed, cancelled or out of time"
        self._failed = LateCount(counter("ledger_failed_total", failed, version))
        self._answers: dict[tuple[str, int, str, str], _Answers] = {}
        self._batches: dict[tuple[str, int], LateObservations] = {}
        self._seen: set[tuple[str, int]] = set()
        self._beginnings = Beginnings(self._requests)

    def exposition(self) -> bytes:
        """The current values in the Prometheus text format."""
        self.flush()
        if MULTIPROCESS_VARIABLE not in os.environ:
            return generate_latest(WithoutGone(self._registry, self._endpoints.known))
        together = CollectorRegistry()
        for facts in self._facts:
            together.register(facts)
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(WithoutGone(together, self._endpoints.known))

    def flush(self) -> None:
        """Give prometheus_client what requests have added since the last time."""
        for answers in self._answers.values():
            answers.flush()
        for batches in self._batches.values():
            batches.flush()
        self._endpoints.flush()
        for count in (self._requests, self._rows, self._queue_rows):
            count.flush()
        for count in (self._accepted, self._answered, self._failed):
            count.flush()

    # -- gateway.core.ports.Events

    def accepted(self, model: str, version: int) -> None:
        self._accepted.add((model, version))

    def answered(self, model: str, version: int) -> None:
        self._answered.add((model, version))

    def failed(self, model: str, version: int) -> None:
        self._failed.add((model, version))

    def batch_done(self, engine: str, model: str, version: int, rows: int) -> None:
        batches = self._batches.get((engine, version))
        if batches is None:
            batches = LateObservations(self._batch_rows, (engine, version), ROW_BUCKETS)
            self._batches[engine, version] = batches
        batches.observe(rows)
        self._rows.add((model, version, engine), rows)
        self._usage.batch_done(model, version, rows)

    def in_flight_changed(self, endpoint: str, requests: int) -> None:
        self._endpoints.in_flight_changed(endpoint, requests)

    def queue_changed(self, engine: str, rows: int) -> None:
        self._queue_rows.add((engine,), rows)

    def engine_seen(self, engine: str, implementation: str, is_up: bool) -> None:
        self._engine_up.labels(engine, implementation).set(is_up)
        self.flush()

    def endpoint_seen(self, endpoint: str, is_up: bool) -> None:
        self._endpoints.seen(endpoint, is_up)

    def endpoint_left(self, endpoint: str) -> None:
        self._endpoints.left(endpoint)

    def version_seen(self, model: str, version: int, engine: str, state: VersionState | None) -> None:
        if (model, version) not in self._seen:
            self._seen.add((model, version))
            self._begin_at_zero(model, version)
        self._beginnings.version_seen(model, version, engine)
        for known in VersionState:
            self._version_state.labels(model, version, engine, known.value).set(known is state)

    def mirrored(self, model: str, version: int, result: str, max_abs_diff: float | None) -> None:
        self._mirrored.labels(model, version, result).inc()
        if max_abs_diff is not None and max_abs_diff > self._largest_diff.get((model, version), -1.0):
            self._largest_diff[model, version] = max_abs_diff
            self._mirror_diff.labels(model, version).set(max_abs_diff)

    def swap_phase_done(self, model: str, phase: str, seconds: float) -> None:
        self._swaps.labels(model, phase).observe(seconds)

    def _begin_at_zero(self, model: str, version: int) -> None:
        """Have rare counts there before they count: Prometheus sees no increase in a counter that begins at 1."""
        for count in (self._accepted, self._answered, self._failed):
            count.add((model, version), 0)
        for result in (MATCH, MISMATCH, ERROR, DROPPED):
            self._mirrored.labels(model, version, result)
        for phase in _SWAP_ENDS:
            self._swaps.labels(model, phase)

    # -- gateway.protocols.conversation.RequestEvents

    def request_answered(self, model: str, version: int, engine: str, protocol: str, stages_s: Stages) -> None:
        key = (model, version, engine, protocol)
        answers = self._answers.get(key)
        if answers is None:
            self._beginnings.protocol_seen(protocol)
            answers = self._answers[key] = _Answers(self._requests, self._seconds, self._stages, key)
        answers.add(stages_s)
        self._usage.request_answered(model, version, stages_s)

    def request_failed(
        self, model: str, version: str, engine: str, protocol: str, outcome: str, seconds: float
    ) -> None:
        self._beginnings.protocol_seen(protocol)
        self._requests.add((model, version, engine, protocol, outcome))
        if version:
            self._usage.request_failed(model, int(version), seconds)


class _Answers:
    """How many answers one version got from one engine in one protocol, and how long they took."""

    def __init__(
        self, requests: LateCount, seconds: BulkHistogram, stages: BulkHistogram, key: tuple[str, int, str, str]
    ) -> None:
        _, version, engine, _ = key
        self._requests = requests
        self._key = key
        self._seconds = LateObservations(seconds, key, LATENCY_BUCKETS_S)
        self._stages = [
            LateObservations(stages, (engine, version, stage), LATENCY_BUCKETS_S) for stage in Stages._fields
        ]
        self._fresh: list[Stages] = []

    def add(self, stages_s: Stages) -> None:
        self._fresh.append(stages_s)
        if len(self._fresh) >= _MOST_FRESH:
            self._add_up()

    def flush(self) -> None:
        self._add_up()
        for observations in (self._seconds, *self._stages):
            observations.flush()

    def _add_up(self) -> None:
        if not self._fresh:
            return
        columns = np.array(self._fresh).T
        self._requests.add((*self._key, OK), len(self._fresh))
        for observations, column in zip(self._stages, columns, strict=True):
            observations.observe_all(column)
        self._seconds.observe_all(columns[-1])
        self._fresh.clear()


class _Facts(Collector):
    """What is the same whichever process is asked: it is read when asked, and kept nowhere."""

    def __init__(self, twinserve_version: str, read_memory: Callable[[], Mapping[str, int]]) -> None:
        self._twinserve_version = twinserve_version
        self._read_memory = read_memory

    def collect(self) -> Iterable[GaugeMetricFamily]:
        build = GaugeMetricFamily("twinserve_build_info", "1; what the gateway is", labels=("version", "python"))
        build.add_metric((self._twinserve_version, platform.python_version()), 1)
        yield build
        memory = GaugeMetricFamily(
            "twinserve_engine_memory_bytes", "Memory of an engine with all its processes", labels=("engine",)
        )
        for engine, size_bytes in self._read_memory().items():
            memory.add_metric((engine,), size_bytes)
        yield memory
