"""When a child is started again, replaced or left alone."""

import pytest

from twinserve.child_life import (
    Life,
    Limits,
    Move,
    Seen,
    State,
    asked_to_stop,
    buried,
    next_move,
    settled,
    started,
    stopped,
    wait_s,
)

LIMITS = Limits(
    first_wait_s=1,
    longest_wait_s=10,
    failed_starts=3,
    settled_s=10,
    start_timeout_s=100,
    silence_s=5,
    stop_timeout_s=20,
)


@pytest.mark.parametrize(
    ("state", "seen", "move", "why"),
    [
        (State.STARTING, Seen(1, False, None), Move.STAY, "it has time"),
        (State.STARTING, Seen(1, False, 1), Move.SETTLE, "it answered"),
        (State.STARTING, Seen(1, True, None), Move.BURY, "it died"),
        (State.STARTING, Seen(101, False, None), Move.REPLACE, "its time is over"),
        (State.READY, Seen(50, False, 49), Move.STAY, "it answers"),
        (State.READY, Seen(50, False, 44), Move.REPLACE, "it hangs"),
        (State.READY, Seen(4, False, None), Move.STAY, "its probe has just begun"),
        (State.READY, Seen(6, False, None), Move.REPLACE, "its probe never answered"),
        (State.READY, Seen(50, True, 50), Move.BURY, "it died"),
        (State.STOPPING, Seen(19, False, 0), Move.STAY, "it has time to end, and need not answer"),
        (State.STOPPING, Seen(1, True, 0), Move.RENEW, "it ended as it was asked to"),
        (State.STOPPING, Seen(21, False, 21), Move.RENEW, "it does not end"),
        (State.WAITING, Seen(0.5, True, None), Move.STAY, "not yet"),
        (State.WAITING, Seen(1, True, None), Move.START, "now"),
        (State.GAVE_UP, Seen(1000, True, None), Move.STAY, "never again"),
    ],
)
def test_moves(state: State, seen: Seen, move: Move, why: str) -> None:
    assert next_move(Life(state, since=0), seen, LIMITS) is move, why


def test_a_child_that_never_settles_waits_longer_and_is_left_alone() -> None:
    life = Life(State.STARTING, since=0)
    waits = []
    while (life := buried(life, 0, None, "broken", LIMITS)).state is State.WAITING:
        waits.append(wait_s(life, LIMITS))
        life = started(life, 0)
    assert waits == [2, 4]
    assert (life.state, life.restarts, life.last_cause) == (State.GAVE_UP, 2, "broken")


def test_one_that_had_settled_starts_afresh() -> None:
    life = Life(State.STARTING, since=0, failed_starts=2)
    life = buried(settled(life, 0), 11, 10, "killed", LIMITS)
    assert (life.state, life.failed_starts, wait_s(life, LIMITS)) == (State.WAITING, 0, 1)
    early = buried(settled(started(life, 11), 12), 13, 13, "killed", LIMITS)
    assert early.failed_starts == 1, "ready for a second is not settled"


def test_one_that_hangs_after_its_first_answer_has_not_settled() -> None:
    life = Life(State.STARTING, since=0)
    for start in range(0, 300, 100):
        life = buried(settled(life, start), start + 50, start + 1, "hung", LIMITS)
        if life.state is State.WAITING:
            life = started(life, start + 60)
    assert life.state is State.GAVE_UP


def test_one_that_was_asked_to_stop_has_not_failed() -> None:
    ready = Life(State.READY, since=0, failed_starts=2, restarts=2)
    life = started(stopped(asked_to_stop(ready, 5, "too big"), 6), 7)
    assert life == Life(State.STARTING, since=7, failed_starts=0, restarts=3, last_cause="too big")


def test_the_wait_has_a_ceiling() -> None:
    assert wait_s(Life(State.WAITING, 0, failed_starts=50), LIMITS) == 10


def test_illegal_moves_raise() -> None:
    ready, gave_up = Life(State.READY, 0), Life(State.GAVE_UP, 0)
    with pytest.raises(ValueError, match="illegal move"):
        started(ready, 1)
    with pytest.raises(ValueError, match="illegal move"):
        settled(ready, 1)
    with pytest.raises(ValueError, match="illegal move"):
        buried(gave_up, 1, None, "again", LIMITS)
    with pytest.raises(ValueError, match="illegal move"):
        asked_to_stop(Life(State.STARTING, 0), 1, "too big")
    with pytest.raises(ValueError, match="illegal move"):
        stopped(ready, 1)
