"""Whether a container that ended is started again: a pure table from what Docker tells of it to the next move.

What Docker tells, in this order, and what becomes of the container by Docker's own restart policy:

    docker kill                kill with signal 9, die                          stays down: this is what comes back here
    docker stop                kill with the stop signal, die, stop             stays down, and is left so
      that is not obeyed       kill with the stop signal, kill 9, die, stop     likewise
    docker kill -s TERM        kill with the stop signal, die                   likewise: it was asked, not shot
    docker restart             kill with the stop signal, die, stop, start      runs
    its own end, a crash       die, start                                       runs, after ever longer waits
    docker rm -f               kill with signal 9, die, destroy                 is gone

So a death is looked into after a moment, when what belongs to it has been told. Each start from here on a container
that has not run for a minute since the last one is waited for longer.
"""

import enum
from dataclasses import dataclass, replace

from twinserve.docker_events import ContainerEvent, ContainerLook

SETTLE_S = 1.5
LONGEST_WAIT_S = 30.0
WELL_S = 60.0


class Move(enum.Enum):
    """What the watchdog does about a container that ended."""

    START = enum.auto()
    RESPECT = enum.auto()
    """Somebody stopped it: it stays down."""
    LOOK_AGAIN = enum.auto()
    """Docker is about to start it by itself."""
    DISMISS = enum.auto()
    """There is nothing to do: it runs, or is being removed."""


@dataclass(frozen=True)
class Past:
    """What is known of a container. Times are seconds on one clock, `died_at` is None once the death is dealt with.

    `signals`: by number, sent through Docker since its last start. `starts`: from here, since it last ran for a minute.
    """

    died_at: float | None = None
    exit_code: int = 0
    signals: frozenset[int] = frozenset()
    was_stopped: bool = False
    started_at: float | None = None
    starts: int = 0


def told(past: Past, event: ContainerEvent, now: float) -> Past:
    """The past with one more event in it. Events come in Docker's order."""
    match event.action:
        case "kill":
            return replace(past, signals=past.signals | {event.signal})
        case "stop":
            return replace(past, was_stopped=True)
        case "die":
            was_well = past.started_at is not None and now - past.started_at >= WELL_S
            return replace(past, died_at=now, exit_code=event.exit_code, starts=0 if was_well else past.starts)
        case "start":
            return Past(started_at=now, starts=past.starts)
    return past


def due_at(past: Past) -> float | None:
    """When to look at the container; None: nothing is to be done about it."""
    if past.died_at is None:
        return None
    backoff_s = min(2.0 ** (past.starts - 1), LONGEST_WAIT_S) if past.starts else 0.0
    return past.died_at + SETTLE_S + backoff_s


def next_move(past: Past, look: ContainerLook) -> Move:
    """Decide about a container that is due."""
    if look.status == "restarting":
        return Move.LOOK_AGAIN
    if look.status != "exited":
        return Move.DISMISS
    if past.was_stopped or look.stop_signal in past.signals:
        return Move.RESPECT
    return Move.START


def after_start(past: Past, now: float, has_failed: bool) -> Past:
    """The past once the watchdog has started the container, or tried to."""
    return replace(past, died_at=now if has_failed else None, starts=past.starts + 1)
