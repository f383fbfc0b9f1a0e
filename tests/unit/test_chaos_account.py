"""The account of a run of chaos: what is explained, what is not, and when ledgers agree."""

import pytest

from tests.composed.chaos_account import (
    PROBE,
    Change,
    Counts,
    Event,
    Excuse,
    Lives,
    find_bad_changes,
    find_ledger_fault,
    find_unexplained,
)
from tests.composed.steady_clients import Asked


def asked(sent_at: float, status: str = "200", transport: str = "http", fault: str = "") -> Asked:
    return Asked(transport, sent_at, sent_at + 0.1, status, fault=fault)


GOOD = [asked(at) for at in range(10)]


def lives(*seen: tuple[str, str, Counts, float]) -> Lives:
    made = Lives()
    made.begin("a", "first", Counts(100, 100, 0), 0)
    for one in seen:
        made.note(*one)
    return made


def test_a_life_that_goes_on_counts_what_clients_count() -> None:
    assert find_ledger_fault(lives(("a", "first", Counts(110, 110, 0), 10)), GOOD, 4) == ""
    for counts in (Counts(109, 109, 0), Counts(111, 111, 0), Counts(111, 110, 1), Counts(111, 110, 0)):
        assert find_ledger_fault(lives(("a", "first", counts, 10)), GOOD, 4) != ""


def test_of_a_life_that_ended_nobody_knows_what_came_after_it_was_read() -> None:
    """Read at 6 with 6 answers, gone, begun anew by 9 with one; those at 6, 7 and 8 may be in no ledger."""
    seen = [("a", "first", Counts(107, 106, 0), 6.0), ("a", "second", Counts(1, 1, 0), 9.0)]
    assert find_ledger_fault(lives(*seen), GOOD, 4) == ""
    assert find_ledger_fault(lives(*seen), [*GOOD, *[asked(3.0)] * 4], 4) != "", "these were before it was read"
    assert find_ledger_fault(lives(("a", "first", Counts(107, 101, 0), 6), seen[1]), GOOD, 4) != "", "too many owed"


def test_fewer_requests_than_before_are_another_life() -> None:
    made = lives(("a", "first", Counts(107, 107, 0), 6), ("a", "first", Counts(3, 3, 0), 7))
    assert [life.counts for life in made.ended] == [Counts(7, 7, 0)]
    assert made.current == {"a": Counts(3, 3, 0)}


@pytest.mark.parametrize(
    ("failure", "is_explained"),
    [
        (asked(5.0, ""), True),
        (asked(5.0, "UNAVAILABLE", "grpc"), True),
        (asked(7.5, ""), False),
        (asked(5.0, "503"), False),
        (asked(5.0, "200", fault="says version 1, but version 2 computed it"), False),
        (asked(5.0, "503", PROBE), True),
        (asked(1.0, "", PROBE), True),
    ],
)
def test_only_broken_connections_at_the_death_of_a_gateway_are_explained(failure: Asked, is_explained: bool) -> None:
    excuse = Excuse("kill", 5.05, 7.0)
    assert (find_unexplained([*GOOD, failure], [excuse]) == []) is is_explained


def test_a_promote_may_fail_while_something_is_broken() -> None:
    event = Event("kill", "torchserve", began_at=10, mended_at=11, whole_at=15)
    failed = {at: Change("promote", 1, at, at + 2, "503") for at in (5, 9, 14, 16)}
    assert find_bad_changes(list(failed.values()), [event]) == [failed[5], failed[16]]
    assert find_bad_changes([Change("promote", 1, 5, 6)], [event]) == []
