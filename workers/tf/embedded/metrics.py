"""The original's metrics, and their text for Prometheus.

Names, labels and buckets are those of tensorflow_serving/servables/tensorflow/util.cc; latencies are in microseconds.
Facts on the text: tensorflow_serving/util/prometheus_exporter.cc.
"""

import threading
from bisect import bisect_left
from collections.abc import Sequence

_SERVING = ":tensorflow:serving:"
_SAVED_MODEL = ":tensorflow:cc:saved_model:"
_LATENCY_BUCKETS = tuple(10 * 1.8**i for i in range(33))
_QUEUING_BUCKETS = tuple(100 * 1.2**i for i in range(52))
_COUNT_BUCKETS = tuple(float(2**i) for i in range(15))

RUNTIME = "TF1"
"""What the runtime_latency metric calls a session."""


class Counter:
    """A number that grows, for each set of label values."""

    def __init__(self, name: str, *labels: str) -> None:
        self.name = name
        self._labels = labels
        self._lock = threading.Lock()
        self._cells: dict[tuple[str, ...], int] = {}

    def add(self, *values: str, count: int = 1) -> None:
        """Count under these label values, given in the order of the labels."""
        with self._lock:
            self._cells[values] = self._cells.get(values, 0) + count

    def values(self) -> dict[tuple[str, ...], int]:
        """All counts by label values."""
        with self._lock:
            return dict(self._cells)

    def lines(self) -> list[str]:
        """As text for Prometheus."""
        cells = sorted(self.values().items())
        return [f"# TYPE {self.name} counter", *(f"{self.name}{_braced(self._labels, v)} {n}" for v, n in cells)]


class Histogram:
    """How many observations fell at or below each bound, for each set of label values."""

    def __init__(self, name: str, bounds: Sequence[float], *labels: str) -> None:
        self.name = name
        self._bounds = bounds
        self._labels = labels
        self._lock = threading.Lock()
        self._cells: dict[tuple[str, ...], tuple[list[int], float]] = {}

    def observe(self, value: float, *values: str) -> None:
        """Add an observation under these label values."""
        with self._lock:
            counts, total = self._cells.get(values, ([0] * (len(self._bounds) + 1), 0.0))
            counts[bisect_left(self._bounds, value)] += 1
            self._cells[values] = counts, total + value

    def lines(self) -> list[str]:
        """As text for Prometheus."""
        with self._lock:
            cells = sorted((values, list(counts), total) for values, (counts, total) in self._cells.items())
        lines = [f"# TYPE {self.name} histogram"]
        for values, counts, total in cells:
            seen = 0
            for bound, count in zip([*(f"{b:g}" for b in self._bounds), "+Inf"], counts, strict=True):
                seen += count
                lines.append(f"{self.name}_bucket{_braced((*self._labels, 'le'), (*values, bound))} {seen}")
            labelled = _braced(self._labels, values)
            lines += [f"{self.name}_sum{labelled} {total:g}", f"{self.name}_count{labelled} {seen}"]
        return lines


class Metrics:
    """One object a server; every room that has something to count is given it."""

    def __init__(self) -> None:
        self._all: list[Counter | Histogram] = []
        self.request_count = self._counter("request_count", "model_name", "status")
        self.request_latency = self._histogram("request_latency", _LATENCY_BUCKETS, "model_name", "API", "entrypoint")
        self.runtime_latency = self._histogram("runtime_latency", _LATENCY_BUCKETS, "model_name", "API", "runtime")
        self.example_counts = self._histogram("request_example_counts", _COUNT_BUCKETS, "model")
        self.example_count_total = self._counter("request_example_count_total", "model")
        self.load_attempts = self._counter("load_attempt_count", "model_path", "status", prefix=_SAVED_MODEL)
        self.load_latency = self._counter("load_latency", "model_path", prefix=_SAVED_MODEL)
        self.warmup_latency = self._histogram("model_warmup_latency", _LATENCY_BUCKETS, "model_path", "status")
        self.queuing_latency = self._histogram("batching_session:queuing_latency", _QUEUING_BUCKETS, "thread_pool_name")
        self.padding_size = self._histogram("batching_session:padding_size", _COUNT_BUCKETS, "execution_batch_size")
        self.input_batch_size = self._histogram("batching_session:input_batch_size", _COUNT_BUCKETS)
        self.processed_batch_size = self._histogram("batching_session:processed_batch_size", _COUNT_BUCKETS)
        self.wrapped_run_count = self._counter("batching_session:wrapped_run_count")

    def count_examples(self, model: str, count: int) -> None:
        """A request with `count` tf.Examples was answered."""
        self.example_counts.observe(count, model)
        self.example_count_total.add(model, count=count)

    def text(self) -> str:
        """All metrics, in Prometheus's text format; what was never counted is left out."""
        lines = [line for metric in self._all if len(found := metric.lines()) > 1 for line in found]
        return "".join(f"{line}\n" for line in lines)

    def counts(self) -> dict[str, dict[tuple[str, ...], int]]:
        """Every counter by name; a later call minus an earlier one tells what happened in between."""
        return {metric.name: metric.values() for metric in self._all if isinstance(metric, Counter)}

    def _counter(self, name: str, *labels: str, prefix: str = _SERVING) -> Counter:
        counter = Counter(prefix + name, *labels)
        self._all.append(counter)
        return counter

    def _histogram(self, name: str, bounds: Sequence[float], *labels: str) -> Histogram:
        histogram = Histogram(_SERVING + name, bounds, *labels)
        self._all.append(histogram)
        return histogram


def _braced(labels: Sequence[str], values: Sequence[str]) -> str:
    return "{" + ",".join(f'{label}="{_escaped(value)}"' for label, value in zip(labels, values, strict=True)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
