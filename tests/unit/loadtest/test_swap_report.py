"""A run summed up: what is inside a swap, what is stale, and whether the ledger agrees."""

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import pytest

from loadtest.admin import Ledger
from loadtest.open_loop import Fate, Outcome
from loadtest.swap_report import MARGIN_S, WARM_UP_S, Observed, Swap, SwapReport, find_ledger_fault, make_report

START = 1000.0


def outcome(due_s: float, latency_s: float = 0.01, version: str = "2", fate: Fate = Fate.ANSWERED) -> Outcome:
    status = {Fate.ANSWERED: 200, Fate.FAILED: 503}.get(fate, 0)
    due_at = START + due_s
    fault = "" if fate is Fate.ANSWERED else "why"
    return Outcome(0, fate, due_at, due_at + latency_s, 0.001, status, "tfserving", version, "id", fault)


def swap(began_s: float, ended_s: float, version: int = 2, fault: str = "", kind: str = "promote") -> Swap:
    return Swap(kind, 3 - version, version, START + began_s, START + ended_s, fault, {"load": ended_s - began_s})


def ledger_of(outcomes: Sequence[Outcome]) -> dict[int, Ledger]:
    counts = {
        version: sum(o.version == str(version) and o.fate is Fate.ANSWERED for o in outcomes) for version in (1, 2)
    }
    return {version: Ledger(count, count, 0) for version, count in counts.items()}


def report(outcomes: Sequence[Outcome], swaps: Sequence[Swap], after: Mapping[int, Ledger] | None = None) -> SwapReport:
    zero = {1: Ledger(), 2: Ledger()}
    return make_report(Observed(START, outcomes, swaps, zero, ledger_of(outcomes) if after is None else after))


def test_requests_are_inside_by_when_they_were_due() -> None:
    outcomes = [
        outcome(WARM_UP_S - 0.01, 9.0),  # connections are being opened
        outcome(2.0, 0.010),
        outcome(5 - MARGIN_S - 0.01, 0.020),
        outcome(5 - MARGIN_S + 0.01, 0.100),
        outcome(6.0, 0.200),
        outcome(7 + MARGIN_S - 0.01, 0.300),
        outcome(7 + MARGIN_S + 0.01, 0.030),
        outcome(10.0, 0.400, version="1"),
        outcome(12.0, 0.040, version="1"),
    ]
    seen = report(outcomes, [swap(5, 7), swap(9.5, 11, version=1)])
    assert (seen.inside.count, seen.outside.count) == (4, 4)
    assert [seen.inside.p50_ms, seen.inside.max_ms] == pytest.approx([250, 400])
    assert [seen.outside.p50_ms, seen.outside.max_ms] == pytest.approx([25, 40])
    assert seen.ratio_p50.value == pytest.approx(10)
    assert [line.latency.count for line in seen.swaps] == [3, 1]
    assert seen.swap_seconds["promote"].median_s == pytest.approx(1.75)
    assert seen.phase_seconds["load"].max_s == pytest.approx(2.0)
    assert seen.is_good


def test_every_warm_answer_is_inside_or_outside_once() -> None:
    generator = np.random.default_rng(1)
    outcomes = [outcome(float(due_s)) for due_s in generator.uniform(WARM_UP_S, 30, 3000)]
    swaps = [swap(4, 6), swap(6.05, 6.06), swap(6.1, 9), swap(20, 25)]  # margins overlap
    seen = report(outcomes, swaps)
    assert seen.inside.count + seen.outside.count == 3000
    assert seen.inside.count == sum(line.latency.count for line in seen.swaps)
    due_s = np.array([o.due_at - START for o in outcomes])
    expected = ((due_s >= 3.9) & (due_s <= 9.1)) | ((due_s >= 19.9) & (due_s <= 25.1))
    assert seen.inside.count == expected.sum()


def test_an_answer_of_the_old_version_after_the_swap_is_stale() -> None:
    swaps = [swap(2, 3, version=2), swap(8, 9, version=1)]
    outcomes = [
        outcome(1.5, version="1"),
        outcome(2.99, version="1"),  # due before the swap's call returned
        outcome(4, version="1"),  # stale
        outcome(5, version="2"),
        outcome(7.99, 0.5, version="1"),  # ended within the next swap: 1 may be live
        outcome(10, version="2"),  # stale
        outcome(11, version="1"),
    ]
    assert report(outcomes, swaps).stale == 2
    failed = [swap(2, 3, fault="refused"), swaps[1]]
    assert report(outcomes, failed).stale == 1, "nobody knows what is live after a swap that failed"


@pytest.mark.parametrize(
    ("bad", "field", "count"),
    [(Fate.FAILED, "failures", 1), (Fate.LOST, "lost", 1), (Fate.NOT_SENT, "not_sent", 1)],
)
def test_one_request_without_its_answer_spoils_the_run(bad: Fate, field: str, count: int) -> None:
    outcomes = [outcome(4), outcome(5, fate=bad, version="")]
    seen = report(outcomes, [swap(2, 3)])
    assert getattr(seen, field) == count
    assert seen.ledger_fault == ""
    assert not seen.is_good
    assert seen.faults == [f"1 x {bad}: why"]
    assert report(outcomes[:1], [swap(2, 3)]).is_good


def test_nothing_measured_is_not_good() -> None:
    assert not report([], [swap(2, 3)]).is_good
    assert not report([outcome(4)], []).is_good
    assert not report([outcome(4)], [swap(2, 3, fault="refused")]).is_good


def test_a_report_is_json() -> None:
    seen = report([outcome(2), outcome(4)], [swap(2, 3)])
    document = msgspec.json.decode(msgspec.json.encode(seen))
    assert document["is_good"] is True
    assert document["ratio_p99"] == {"value": pytest.approx(1.0), "low": None, "high": None}
    assert document["ledger"]["2"] == {"accepted": 2, "answered": 2, "failed": 0}
    assert math.isclose(document["swaps"][0]["phases"]["load"], 1.0)


BEFORE = {1: Ledger(10, 10, 0), 2: Ledger(5, 4, 1)}
TEN_OF_ONE = [outcome(n, version="1") for n in range(10)]


@pytest.mark.parametrize(
    ("after", "extra", "said"),
    [
        (Ledger(20, 20, 0), [], ""),
        (Ledger(20, 19, 0), [], "version 1: accepted 10, but answered 9 and failed 0"),
        (Ledger(19, 19, 0), [], "version 1: the gateway answered 9, 10 answers arrived"),
        (Ledger(21, 21, 0), [], "version 1: the gateway answered 11, 10 answers arrived"),
        (Ledger(21, 20, 1), [], "the gateway failed 1, 0 failures arrived"),
        (Ledger(21, 20, 1), [Fate.FAILED], ""),
        (Ledger(20, 20, 0), [Fate.FAILED], ""),  # refused before it was accepted
        (Ledger(21, 21, 0), [Fate.LOST], ""),
        (Ledger(21, 20, 1), [Fate.LOST], ""),
        (Ledger(20, 20, 0), [Fate.LOST], ""),
        (Ledger(22, 22, 0), [Fate.LOST], "version 1: the gateway answered 12, 10 answers arrived"),
        (Ledger(0, 0, 0), [], "version 1: the gateway answered -10, 10 answers arrived"),  # restarted
    ],
)
def test_the_ledger_is_held_against_our_count(after: Ledger, extra: list[Fate], said: str) -> None:
    outcomes = [*TEN_OF_ONE, *(outcome(20, version="", fate=fate) for fate in extra)]
    assert find_ledger_fault(BEFORE, {1: after, 2: BEFORE[2]}, outcomes) == said


def test_answers_counted_for_another_version_are_noticed() -> None:
    after = {1: Ledger(19, 19, 0), 2: Ledger(6, 5, 1)}
    assert find_ledger_fault(BEFORE, after, TEN_OF_ONE) == "version 1: the gateway answered 9, 10 answers arrived"


def test_answers_of_a_version_without_a_ledger_are_noticed() -> None:
    assert "without a ledger" in find_ledger_fault(BEFORE, {2: BEFORE[2]}, TEN_OF_ONE)
