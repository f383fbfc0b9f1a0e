"""Where the time went."""

import math

import numpy as np
import pytest

from loadtest.compare.stages import LATE, UNATTRIBUTED, decode_server_timing, decompose


@pytest.mark.parametrize(
    ("header", "stages"),
    [
        ("decode;dur=0.79, queue;dur=0.1, total;dur=8", {"decode": 0.79, "queue": 0.1, "total": 8.0}),
        ('cache;desc="a hit";dur=2.5,miss', {"cache": 2.5}),
        ('a ; dur = "3"', {"a": 3.0}),
        ("a;dur=1.2.3, b;DUR=1", {"b": 1.0}),
        ("", {}),
    ],
)
def test_a_header_is_read(header: str, stages: dict[str, float]) -> None:
    assert decode_server_timing(header) == stages


def test_rows_add_up_to_the_latency_of_all_and_of_the_slowest() -> None:
    count = 200
    latency_ms = np.full(count, 10.0)
    latency_ms[[3, 77]] = 100.0
    stages = {name: np.full(count, 1.0) for name in ("decode", "queue", "encode")}
    stages["upstream"] = np.where(latency_ms > 50, 80.0, 5.0)
    stages["total"] = stages["upstream"] + 3.5
    found = decompose(latency_ms, np.full(count, 0.25), stages)
    assert found is not None
    assert (found.requests, found.slowest_requests) == (count, 2)
    rows = {row.stage: row for row in found.rows}
    assert sum(row.all_ms for row in found.rows) == pytest.approx(found.latency_ms) == pytest.approx(10.9)
    assert sum(row.slowest_percent for row in found.rows) == pytest.approx(100)
    assert rows["upstream"].slowest_ms == pytest.approx(80)
    assert rows[LATE].all_ms == pytest.approx(0.25)
    assert rows[UNATTRIBUTED].slowest_ms == pytest.approx(100 - 80 - 3 - 0.25)
    assert found.gateway_rest_ms == pytest.approx(0.5)


def test_requests_that_told_nothing_are_left_out() -> None:
    latency_ms = np.array([1.0, math.inf, 3.0])
    stages = {name: np.array([0.1, 0.1, math.nan]) for name in ("decode", "queue", "upstream", "encode", "total")}
    found = decompose(latency_ms, np.zeros(3), stages)
    assert found is not None
    assert found.requests == 1
    assert decompose(latency_ms, np.zeros(3), {}) is None
