"""What an engine counts by itself, read from its page for Prometheus; one meaning for both engines.

Only the few lines that are wanted are taken apart: a page has hundreds, and this runs on the gateway's event loop.
docs/monitoring.md has the table of what comes from where.
"""

import math
import re
from collections.abc import Mapping

import msgspec

_LABEL = re.compile(r'(?:^\{|,)\s*([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_LONGEST_LINE = 4096
_MICROSECONDS_PER_S = 1e6

# TorchServe's, by ts/configs/metrics.yaml.
_TS_REQUESTS = "ts_inference_requests_total"
_TS_FAILURES = "Requests5XX"
_TS_INFERENCE_US = "ts_inference_latency_microseconds"
_TS_QUEUE_US = "ts_queue_latency_microseconds"

# TensorFlow Serving's, by servables/tensorflow/util.cc and batching/batching_session.cc.
_TF_OUTCOMES = ":tensorflow:serving:request_count"
_TF_ANSWERED = ":tensorflow:serving:request_latency_count"
_TF_INFERENCE_US = ":tensorflow:serving:request_latency_sum"
_TF_QUEUE_US = ":tensorflow:serving:batching_session:queuing_latency_sum"

# NOT_FOUND is without a model: TorchServe does not count that, and questions for the state of an unknown one are here.
_TF_NOT_COUNTED = ("OK", "NOT_FOUND")
# What is no fault of the client's, as 5XX says it in HTTP. The last: it waited in a queue for too long.
_TF_FAILURES = ("UNKNOWN", "DEADLINE_EXCEEDED", "ABORTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "RESOURCE_EXHAUSTED")

Samples = Mapping[str, list[tuple[Mapping[str, str], float]]]


class NoCounters(ValueError):
    """A page that tells nothing to be used; the message says why."""


class OwnCounters(msgspec.Struct, frozen=True):
    """Since a server's process started, over all models and versions; whoever asked, warm-up and trials included.

    `requests` are inference requests for a model that is there. `failures` are those that the engine could not answer
    by no fault of the client's. `inference_s` is from taking an answered request on to its answer, waiting included;
    `queue_s` the part of it spent waiting for a worker or a batch, None where the engine does not tell.
    """

    requests: float
    failures: float
    inference_s: float
    queue_s: float | None = None


def read_torchserve(page: str) -> OwnCounters:
    """Of TorchServe's page /metrics. Raises NoCounters."""
    samples = _samples(page, _TS_REQUESTS, _TS_FAILURES, _TS_INFERENCE_US, _TS_QUEUE_US)
    # What was never counted has no samples, but a line with its type all the same.
    if _TS_REQUESTS not in page:
        raise NoCounters(f"its page has no {_TS_REQUESTS}: does its metrics_mode say prometheus?")
    return OwnCounters(
        requests=_total(samples, _TS_REQUESTS),
        failures=_total(samples, _TS_FAILURES),
        inference_s=_total(samples, _TS_INFERENCE_US) / _MICROSECONDS_PER_S,
        queue_s=_total(samples, _TS_QUEUE_US) / _MICROSECONDS_PER_S,
    )


def read_tfserving(page: str) -> OwnCounters:
    """Of TensorFlow Serving's page, and of the embedded server's alike. Raises NoCounters.

    Nothing on it was counted yet where it says nothing.
    """
    samples = _samples(page, _TF_OUTCOMES, _TF_ANSWERED, _TF_INFERENCE_US, _TF_QUEUE_US)
    outcomes = [(labels.get("status"), count) for labels, count in samples[_TF_OUTCOMES]]
    refused = sum(count for status, count in outcomes if status not in _TF_NOT_COUNTED)
    is_batching = bool(samples[_TF_QUEUE_US])
    return OwnCounters(
        requests=_total(samples, _TF_ANSWERED) + refused,
        failures=sum(count for status, count in outcomes if status in _TF_FAILURES),
        inference_s=_total(samples, _TF_INFERENCE_US) / _MICROSECONDS_PER_S,
        queue_s=_total(samples, _TF_QUEUE_US) / _MICROSECONDS_PER_S if is_batching else None,
    )


def _total(samples: Samples, name: str) -> float:
    return sum(value for _, value in samples[name])


def _samples(page: str, *wanted: str) -> Samples:
    """Labels and value of every sample of these names, by name; text format 0.0.4. Raises NoCounters."""
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {name: [] for name in wanted}
    for line in page.split("\n"):  # a label may hold what else splitlines() splits at
        name = line.partition(" ")[0].partition("{")[0]
        if name in found:
            if len(line) > _LONGEST_LINE:
                raise NoCounters(f"a line of its page is longer than {_LONGEST_LINE} characters: {line[:100]!r}")
            found[name].append(_sample(line[len(name) :]))
    return found


def _sample(behind_name: str) -> tuple[Mapping[str, str], float]:
    labels, _, value = behind_name.rpartition("}")
    try:
        number = float(value.split()[0])  # a time may follow
    except (ValueError, IndexError) as error:
        raise NoCounters(f"a line of its page is no sample: {behind_name[:100]!r}") from error
    if not math.isfinite(number):
        raise NoCounters(f"a line of its page counts nothing: {behind_name[:100]!r}")
    return {match[1]: match[2] for match in _LABEL.finditer(labels)}, number
