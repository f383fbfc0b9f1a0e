"""Batches and their rows from the gateway's metrics."""

import pytest

from loadtest.bench.batch_counts import BatchCounts, parse_batch_counts

EXPOSITION = """\
# HELP twinserve_batch_rows Rows in an engine call
# TYPE twinserve_batch_rows histogram
twinserve_batch_rows_bucket{engine="torchserve",le="1.0",version="1"} 3.0
twinserve_batch_rows_bucket{engine="torchserve",le="+Inf",version="1"} 5.0
twinserve_batch_rows_count{engine="torchserve",version="1"} 5.0
twinserve_batch_rows_sum{engine="torchserve",version="1"} 9.0
twinserve_batch_rows_count{engine="torchserve",version="2"} 10.0
twinserve_batch_rows_sum{engine="torchserve",version="2"} 240.0
twinserve_batch_rows_count{engine="tfserving",version="2"} 7.0
twinserve_batch_rows_sum{engine="tfserving",version="2"} 7.0
# HELP twinserve_rows_total Rows answered by engines
# TYPE twinserve_rows_total counter
twinserve_rows_total{engine="torchserve",model="mnist",version="2"} 240.0
"""


@pytest.mark.parametrize(("engine", "counts"), [("torchserve", (15, 249)), ("tfserving", (7, 7)), ("other", (0, 0))])
def test_an_engines_batches_are_added_up_over_its_versions(engine: str, counts: tuple[int, int]) -> None:
    assert parse_batch_counts(EXPOSITION, engine) == counts


def test_what_came_since_an_earlier_reading() -> None:
    assert BatchCounts(15, 249).since(BatchCounts(5, 9)) == BatchCounts(10, 240)
