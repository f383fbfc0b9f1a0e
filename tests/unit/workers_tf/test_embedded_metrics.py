"""Metrics as text, and the small parts of the wire: bodies and channel arguments."""

import gzip
import random
from time import process_time

import pytest

from workers.tf.embedded.faults import Fault
from workers.tf.embedded.grpc_listener import channel_arguments
from workers.tf.embedded.metrics import Metrics
from workers.tf.embedded.rest_bodies import MAX_INFLATED_BYTES, MOST_MEMBERS, inflate


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


def test_gzip_of_many_members() -> None:
    chance = random.Random(4)
    parts = [chance.randbytes(chance.choice((0, 1, 100, 255, 256, 257, 1000, 70_000))) for _ in range(200)]
    assert inflate(b"".join(map(gzip.compress, parts))) == b"".join(parts)
    member = gzip.compress(b"a")
    assert inflate(member * MOST_MEMBERS) == b"a" * MOST_MEMBERS
    assert inflate(member * (MOST_MEMBERS + 1)) == b""


def test_many_small_members_cost_no_more_than_they_are_long() -> None:
    """A copy of all that follows for each of them would take a hundred times as long as what follows takes alone."""
    small, large = gzip.compress(b"") * (MOST_MEMBERS - 1), gzip.compress(random.Random(5).randbytes(8 * 2**20), 0)

    def seconds(body: bytes) -> float:
        began = process_time()
        assert len(inflate(body)) == 8 * 2**20
        return process_time() - began

    alone = min(seconds(large) for _ in range(3))
    assert seconds(small + large) < 40 * max(alone, 0.005)


@pytest.mark.long
def test_gzip_may_grow_to_its_limit_and_no_further() -> None:
    full = gzip.compress(bytes(MAX_INFLATED_BYTES), 1)
    assert len(inflate(full)) == MAX_INFLATED_BYTES
    assert inflate(full + gzip.compress(b"x")) == b""
    assert inflate(gzip.compress(bytes(MAX_INFLATED_BYTES + 1), 1)) == b""


def test_channel_arguments_replace_our_own() -> None:
    arguments = dict(channel_arguments("grpc.so_reuseport=1,name=x,low=-3,big=4294967296"))
    assert arguments["grpc.so_reuseport"] == 1
    assert (arguments["name"], arguments["low"], arguments["big"]) == ("x", -3, "4294967296")
    assert arguments["grpc.max_receive_message_length"] == -1
    with pytest.raises(Fault, match="is not key=value"):
        channel_arguments("lonely")
