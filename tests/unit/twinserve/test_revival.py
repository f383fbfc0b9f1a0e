"""Which containers come back: the table of what Docker tells, held against what is done."""

import pytest

from twinserve.docker_events import ContainerEvent, ContainerLook, signal_number
from twinserve.revival import LONGEST_WAIT_S, SETTLE_S, WELL_S, Move, Past, after_start, due_at, next_move, told

TERM, KILL, QUIT, HUP = 15, 9, 3, 1
EXITED = ContainerLook("exited", TERM, {})


def happened(*names: str | int) -> Past:
    """After these events, at second 0: an action, or the number of a signal that was sent."""
    past = Past()
    for name in names:
        signal = name if isinstance(name, int) else 0
        action = "kill" if signal else str(name)
        past = told(past, ContainerEvent("id", "name", action, at_ns=0, signal=signal, exit_code=137), now=0)
    return past


@pytest.mark.parametrize(
    ("events", "status", "stop_signal", "move"),
    [
        (["start", KILL, "die"], "exited", TERM, Move.START),
        (["start", HUP, KILL, "die"], "exited", TERM, Move.START),
        (["start", QUIT, "die"], "exited", TERM, Move.START),
        (["start", TERM, "die", "stop"], "exited", TERM, Move.RESPECT),
        (["start", TERM, KILL, "die", "stop"], "exited", TERM, Move.RESPECT),
        (["start", QUIT, "die", "stop"], "exited", QUIT, Move.RESPECT),
        (["start", TERM, "die"], "exited", TERM, Move.RESPECT),
        (["start", QUIT, KILL, "die"], "exited", QUIT, Move.RESPECT),
        (["die", "stop"], "exited", TERM, Move.RESPECT),
        (["start", TERM, "die", "stop", "start", KILL, "die"], "exited", TERM, Move.START),
        (["start", "die"], "restarting", TERM, Move.LOOK_AGAIN),
        (["start", "die"], "running", TERM, Move.DISMISS),
        (["start", "die"], "exited", TERM, Move.START),
        (["start", KILL, "die"], "removing", TERM, Move.DISMISS),
        (["start", KILL, "die"], "dead", TERM, Move.DISMISS),
    ],
    ids=[
        "docker kill",
        "docker kill after a harmless signal",
        "another deadly signal",
        "docker stop",
        "docker stop, not obeyed",
        "docker stop with a stop signal of its own",
        "docker kill -s TERM",
        "killed in the middle of a stop",
        "killed before the watchdog looked, then stopped",
        "killed after an earlier stop",
        "a crash, Docker waits to start it",
        "a crash, Docker has started it",
        "a crash that Docker does nothing about",
        "docker rm -f",
        "a removal that failed",
    ],
)
def test_what_is_done_about_a_death(events: list[str | int], status: str, stop_signal: int, move: Move) -> None:
    past = happened(*events)
    assert due_at(past) == SETTLE_S, "not before the rest was told"
    assert next_move(past, ContainerLook(status, stop_signal, {})) is move


@pytest.mark.parametrize("events", [[], ["start"], ["start", KILL], ["start", TERM, "die", "stop", "start"]])
def test_nothing_is_due_for_what_runs(events: list[str | int]) -> None:
    assert due_at(happened(*events)) is None


def die(past: Past, now: float) -> Past:
    return told(past, ContainerEvent("id", "name", "die", at_ns=0, exit_code=137), now)


def start(past: Past, now: float) -> Past:
    return told(after_start(past, now, has_failed=False), ContainerEvent("id", "name", "start", at_ns=0), now)


def test_each_death_soon_after_a_start_is_waited_for_longer() -> None:
    past, now, waits = Past(), 0.0, []
    for _ in range(8):
        past = die(past, now)
        due = due_at(past)
        assert due is not None
        waits.append(due - now - SETTLE_S)
        now = due
        past = start(past, now)
    assert waits == [0, 1, 2, 4, 8, 16, LONGEST_WAIT_S, LONGEST_WAIT_S]
    past = die(past, now + WELL_S - 1)
    assert due_at(past) == now + WELL_S - 1 + SETTLE_S + LONGEST_WAIT_S


def test_after_a_minute_of_running_the_next_death_is_like_the_first() -> None:
    past = start(die(start(die(Past(), 0), 2), 10), 14)
    assert due_at(die(past, 14 + WELL_S)) == 14 + WELL_S + SETTLE_S


def test_a_start_that_failed_is_tried_again_later() -> None:
    past = after_start(die(Past(), 0), 2, has_failed=True)
    assert due_at(past) == 2 + SETTLE_S + 1
    assert next_move(past, EXITED) is Move.START


@pytest.mark.parametrize(
    ("name", "number"), [("SIGQUIT", 3), ("quit", 3), ("3", 3), ("SIGTERM", 15), ("SIGRTMIN+3", 15)]
)
def test_stop_signals_are_read_as_images_name_them(name: str, number: int) -> None:
    assert signal_number(name) == number
