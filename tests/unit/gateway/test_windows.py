"""What all gateway processes counted between two moments, when some of them come and go."""

import pytest

from gateway.core.counts import Counts, Ledger
from gateway.core.ports import PeerReport
from gateway.core.windows import Moment, baseline, between, take_moment
from tests.unit.gateway.adder import MemoryPeers

KEY = ("adder", 2)


def counted(**answered: int) -> Moment:
    """Answers of one version by gateway process, from `here=3`."""
    return {name: {KEY: _counts(number)} for name, number in answered.items()}


def _counts(answered: int) -> Counts:
    counts = Counts(accepted=answered, answered=answered)
    counts.latency[0] = answered
    return counts


@pytest.mark.parametrize(
    ("before", "now", "answered"),
    [
        (counted(here=3), counted(here=10), 7),
        (counted(here=3, there=5), counted(here=10, there=6), 8),
        (counted(here=3, dead=500), counted(here=10), 7),
        (counted(here=3), counted(here=10, new=4), 11),
        (counted(here=3, again=500), counted(here=10, again=4), 7),
        ({}, counted(here=10), 10),
        (counted(here=3), {}, 0),
    ],
)
def test_a_window_is_counted_process_by_process(before: Moment, now: Moment, answered: int) -> None:
    assert between(before, now, KEY) == _counts(answered)
    assert between(before, now, ("adder", 1)) == Counts()


@pytest.mark.parametrize(("fewest", "answered"), [(0, 10), (10, 10), (11, 40), (41, 100), (1000, 100)])
def test_a_baseline_goes_back_as_far_as_it_must(fewest: int, answered: int) -> None:
    back_in_time: tuple[Moment, ...] = (counted(here=90), counted(here=60), {})
    assert baseline(back_in_time, counted(here=100), KEY, fewest).answered == answered


def test_a_moment_is_of_all_processes_and_stays_what_it_was() -> None:
    ledger, peers = Ledger(), MemoryPeers()
    peers.reports = {"there": PeerReport({}, {KEY: _counts(5)}, {})}
    ledger.of(*KEY).answered = 3
    then = take_moment(peers, ledger)
    ledger.of(*KEY).answered += 1
    ledger.of(*KEY).add_latency(1.0)
    assert then == {"there": {KEY: _counts(5)}, "here": {KEY: Counts(answered=3)}}
    assert between(then, take_moment(peers, ledger), KEY).answered == 1
