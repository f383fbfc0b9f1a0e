"""Percentiles are right to a thousandth, and merging is as if all had been recorded in one place."""

import json
import math

import numpy as np
import pytest

from loadtest.scenarios.histograms import Histogram, round_up_ms

DURATIONS_S = np.random.default_rng(7).lognormal(-6, 1.5, 3000).tolist()


def recorded(durations_s: list[float]) -> Histogram:
    histogram = Histogram()
    for duration_s in durations_s:
        histogram.record(duration_s)
    return histogram


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 0.99, 0.999, 1.0])
def test_a_quantile_is_that_of_the_durations_themselves(share: float) -> None:
    exact_s = sorted(DURATIONS_S)[max(1, math.ceil(share * len(DURATIONS_S))) - 1]
    found_s = recorded(DURATIONS_S).quantile(share)
    assert exact_s - 1e-6 <= found_s <= exact_s * 1.001 + 1e-6


def test_parts_of_a_millisecond_are_told_apart() -> None:
    assert recorded([0.000_250]).quantile(0.5) == pytest.approx(0.000_250, abs=1e-9)
    assert recorded([0.000_250, 0.000_253, 0.000_300]).quantile(0.5) == pytest.approx(0.000_253, abs=1e-9)
    assert round_up_ms(0.253) == 0.253
    assert round_up_ms(812.3) == pytest.approx(812.3, rel=0.001)


def test_merging_is_recording_in_one_place_also_by_way_of_json() -> None:
    merged = recorded(DURATIONS_S[:1000])
    carried = json.loads(json.dumps(recorded(DURATIONS_S[1000:]).to_document()))
    merged.merge(Histogram.from_document(carried))
    whole = recorded(DURATIONS_S)
    assert (merged.counts, merged.min_s, merged.max_s) == (whole.counts, whole.min_s, whole.max_s)
    assert merged.mean_s == pytest.approx(whole.mean_s)


def test_nothing_recorded_is_zero_everywhere_and_survives_json() -> None:
    empty = Histogram.from_document(json.loads(json.dumps(Histogram().to_document())))
    assert (empty.count, empty.quantile(0.99), empty.mean_s, empty.min_s) == (0, 0.0, 0.0, math.inf)
    assert "Total count    =            0" in empty.to_hgrm()


def test_the_distribution_is_as_hdr_tools_read_it() -> None:
    lines = recorded([0.001] * 3 + [0.004]).to_hgrm().splitlines()
    assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    rows = [line.split() for line in lines[2:] if not line.startswith("#")]
    assert rows == [["1.000", "0.750000000000", "3", "4.00"], ["4.000", "1.000000000000", "4"]]
