"""Metrics as text, and the small parts of the wire: bodies and channel arguments."""

import gzip

import pytest

from workers.tf.embedded.faults import Fault
from workers.tf.embedded.grpc_listener import channel_arguments
from workers.tf.embedded.metrics import Metrics
from workers.tf.embedded.rest_bodies import inflate


def test_what_was_never_counted_is_not_told() -> None:
    assert Metrics().text() == ""


def test_counters_and_histograms() -> None:
    metrics = Metrics()
    metrics.request_count.add('a"b\\\n', "OK")
    metrics.request_count.add('a"b\\\n', "OK")
    for latency_us in (10, 10.5, 1e12):
        metrics.request_latency.observe(latency_us, "m", "Predict", "GRPC")
    lines = metrics.text().splitlines()
    assert lines[:3] == [
        "# TYPE :tensorflow:serving:request_count counter",
        r':tensorflow:serving:request_count{model_name="a\"b\\\n",status="OK"} 2',
        "# TYPE :tensorflow:serving:request_latency histogram",
    ]
    labels = 'model_name="m",API="Predict",entrypoint="GRPC"'
    assert lines[3] == f':tensorflow:serving:request_latency_bucket{{{labels},le="10"}} 1'
    assert lines[4] == f':tensorflow:serving:request_latency_bucket{{{labels},le="18"}} 2'
    assert lines[-3] == f':tensorflow:serving:request_latency_bucket{{{labels},le="+Inf"}} 3'
    assert lines[-2:] == [
        f":tensorflow:serving:request_latency_sum{{{labels}}} 1e+12",
        f":tensorflow:serving:request_latency_count{{{labels}}} 3",
    ]


def test_a_metric_without_labels_has_braces_all_the_same() -> None:
    metrics = Metrics()
    metrics.wrapped_run_count.add()
    assert ":tensorflow:serving:batching_session:wrapped_run_count{} 1\n" in metrics.text()
    assert metrics.counts()[":tensorflow:serving:batching_session:wrapped_run_count"] == {(): 1}


@pytest.mark.parametrize("cut", [1, 8, 9, 20])
def test_gzip_that_is_cut_short_counts_as_empty(cut: int) -> None:
    whole = gzip.compress(b"body" * 10)
    assert inflate(whole) == b"body" * 10
    assert inflate(whole + gzip.compress(b"more")) == b"body" * 10 + b"more"
    assert inflate(whole[:-cut]) == b""
    assert inflate(b"") == b""


def test_channel_arguments_replace_our_own() -> None:
    arguments = dict(channel_arguments("grpc.so_reuseport=1,name=x,low=-3,big=4294967296"))
    assert arguments["grpc.so_reuseport"] == 1
    assert (arguments["name"], arguments["low"], arguments["big"]) == ("x", -3, "4294967296")
    assert arguments["grpc.max_receive_message_length"] == -1
    with pytest.raises(Fault, match="is not key=value"):
        channel_arguments("lonely")
