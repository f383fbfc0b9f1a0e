"""What an engine's endpoints count themselves, added up."""

from gateway.engines.counter_sums import CounterSum, total
from gateway.engines.own_counters import OwnCounters


def counted(requests: float) -> OwnCounters:
    return OwnCounters(requests, failures=1, inference_s=0.5, queue_s=0.25)


def requests_of(counters: OwnCounters | None) -> float | None:
    return None if counters is None else counters.requests


def test_they_are_added_up() -> None:
    assert CounterSum().add_up({"a": counted(3), "b": counted(4)}) == OwnCounters(7, 2, 1.0, 0.5)
    assert total([OwnCounters(1, 0, 0), OwnCounters(2, 0, 0)]).queue_s is None


def test_the_sum_does_not_fall_while_one_is_away_or_begins_anew() -> None:
    both = CounterSum()
    assert requests_of(both.add_up({"a": counted(30), "b": counted(40)})) == 70
    assert requests_of(both.add_up({"a": counted(31), "b": None})) == 71
    assert requests_of(both.add_up({"a": counted(31), "b": counted(2)})) == 73, "it was started anew"
    assert requests_of(both.add_up({"a": counted(31)})) == 73, "it is gone"
    assert requests_of(both.add_up({"a": counted(31), "c": counted(0)})) == 73
    assert both.add_up({"a": None, "c": None}) is None, "nobody tells"
    assert requests_of(both.add_up({"a": counted(32), "c": None})) == 74


def test_one_that_goes_and_comes_again_is_counted_once() -> None:
    both = CounterSum()
    assert requests_of(both.add_up({"a": counted(30), "b": counted(40)})) == 70
    assert requests_of(both.add_up({"a": counted(30)})) == 70, "its name did not lead to it for a moment"
    assert requests_of(both.add_up({"a": counted(30), "b": counted(41)})) == 71
    assert requests_of(both.add_up({"a": counted(30)})) == 71
    assert requests_of(both.add_up({"a": counted(30), "b": counted(2)})) == 73, "another one with its address"
