"""What a run adds up to, over processes too, and which limits it misses."""

import json

import pytest

from loadtest.scenarios.answers import Fate
from loadtest.scenarios.summaries import (
    Incident,
    Limits,
    LocustFigures,
    Plan,
    Ran,
    check_limits,
    describe,
    missed,
    summarize,
)
from loadtest.scenarios.tallies import MOST_FAULTS, OTHER_FAULTS, Ended, Tally

PLAN = Plan("steady", "http://127.0.0.1:8000", "mnist", "open", ("binary",), rate_per_s=10, duration_s=10)
NO_FIGURES = LocustFigures(0, 0, 0, 0, 0)


def right(service_s: float = 0.01, lateness_s: float = 0.0, label: bool | None = None) -> Ended:
    return Ended("binary", "steady", Fate.RIGHT, lateness_s, service_s, "2", "tfserving", is_label_right=label)


def tally_of(*all_ended: Ended) -> Tally:
    tally = Tally()
    for ended in all_ended:
        tally.add(ended)
    return tally


def ran(*incidents: Incident, is_interrupted: bool = False) -> Ran:
    return Ran(1.0, 10.0, is_interrupted, incidents, NO_FIGURES)


def test_latency_counts_from_when_a_request_was_due() -> None:
    tally = tally_of(right(0.010, lateness_s=0.030))
    assert tally.latency.quantile(0.5) == pytest.approx(0.040, rel=0.001)
    assert tally.service.quantile(0.5) == pytest.approx(0.010, rel=0.001)
    assert tally.lateness.quantile(0.5) == pytest.approx(0.030, rel=0.001)


def test_what_was_not_sent_is_an_error_and_has_no_latency() -> None:
    tally = tally_of(right(), Ended("binary", "steady", Fate.NOT_SENT, 0, 0, fault="1000 answers were owed"))
    assert (tally.requests, tally.errors, tally.error_rate, tally.latency.count) == (2, 1, 0.5, 1)


def test_processes_add_up_by_way_of_json() -> None:
    one = tally_of(right(label=True), Ended("grpc", "spike", Fate.LOST, 0, 1, fault="timeout"))
    other = tally_of(right(label=False), Ended("grpc", "spike", Fate.LOST, 0, 1, fault="timeout"))
    one.merge(Tally.from_document(json.loads(json.dumps(other.to_document()))))
    assert one.fates == {Fate.RIGHT: 2, Fate.LOST: 2}
    assert one.faults == {"lost: timeout": 2}
    assert (one.accuracy, one.versions["2"], one.by_protocol["grpc"].count) == (0.5, 2, 2)


def test_different_faults_are_bounded_and_all_counted() -> None:
    faults = [Ended("binary", "steady", Fate.REFUSED, 0, 0, fault=f"500 number {n}") for n in range(200)]
    tally = tally_of(*faults)
    assert len(tally.faults) == MOST_FAULTS + 1
    assert (tally.faults.total(), tally.faults[OTHER_FAULTS]) == (200, 200 - MOST_FAULTS)


@pytest.mark.parametrize(
    ("limits", "are_met"),
    [
        (Limits(), [True]),
        (Limits(max_p99_ms=11), [True, True]),
        (Limits(max_p99_ms=9), [False, True]),
        (Limits(min_accuracy=0.5), [True, True]),
        (Limits(min_accuracy=0.51), [True, False]),
        (Limits(max_error_rate=None), []),
    ],
)
def test_limits(limits: Limits, are_met: list[bool]) -> None:
    tally = tally_of(right(label=True), right(label=False))
    assert [check.is_met for check in check_limits(tally, limits)] == are_met
    summary = summarize(PLAN, tally, limits, ran())
    assert summary.is_good == all(are_met)
    assert len(missed(summary)) == are_met.count(False)


def test_an_error_misses_the_default_limit_and_says_which() -> None:
    tally = tally_of(right(), Ended("binary", "steady", Fate.WRONG, 0, 0.01, "1", "tfserving", "version 1 answered"))
    summary = summarize(PLAN, tally, Limits(), ran())
    assert not summary.is_good
    text = describe(summary)
    assert "--max-error-rate 0: missed, 0.5" in text
    assert "1 x wrong: version 1 answered" in text
    assert describe(summarize(PLAN, tally, Limits(max_error_rate=0.5), ran())).endswith("\ngood\n")


def test_labels_that_nobody_saw_miss_a_limit_on_them() -> None:
    (_, check) = check_limits(tally_of(right()), Limits(min_accuracy=0.9))
    assert (check.value, check.is_met) == (None, False)


def test_a_run_without_a_request_or_with_a_failed_incident_is_not_good() -> None:
    assert missed(summarize(PLAN, Tally(), Limits(max_error_rate=None), ran())) == ["no request was made"]
    summary = summarize(PLAN, tally_of(right()), Limits(), ran(Incident("promote 1", 1.0, 2.0, "refused")))
    assert not summary.is_good
    assert "promote 1: refused in 2.00 s" in describe(summary)


def test_an_interrupted_run_says_so() -> None:
    assert "interrupted" in describe(summarize(PLAN, tally_of(right()), Limits(), ran(is_interrupted=True)))
