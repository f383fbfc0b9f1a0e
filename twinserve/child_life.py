"""When a child is started again, replaced or left alone: a pure table from what is seen to the next move.

A child that never settles (ready for a while) is started again after ever longer waits, and left alone after too many
failed starts in a row. One that had settled and died is started again almost at once. One that is up but has stopped
answering is replaced. One that was asked to stop, to be started afresh, is started as soon as it has ended.
"""

import enum
from dataclasses import dataclass, replace


class State(enum.Enum):
    """Where a child is in its life."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping, to be started afresh"
    WAITING = "waiting to start again"
    GAVE_UP = "gave up"


class Move(enum.Enum):
    """What the supervisor does next."""

    STAY = enum.auto()
    SETTLE = enum.auto()
    REPLACE = enum.auto()
    BURY = enum.auto()
    RENEW = enum.auto()
    START = enum.auto()


@dataclass(frozen=True)
class Limits:
    """Seconds, and how many failed starts in a row are enough."""

    first_wait_s: float = 0.5
    longest_wait_s: float = 10.0
    failed_starts: int = 8
    settled_s: float = 10.0
    start_timeout_s: float = 120.0
    silence_s: float = 10.0
    stop_timeout_s: float = 15.0


@dataclass(frozen=True)
class Life:
    """A child's life so far; times in seconds on one clock."""

    state: State
    since: float
    failed_starts: int = 0
    restarts: int = 0
    last_cause: str | None = None


@dataclass(frozen=True)
class Seen:
    """What the supervisor sees of a child now. `answered_at` is when it last answered its probe, in this run."""

    now: float
    has_ended: bool
    answered_at: float | None


def next_move(life: Life, seen: Seen, limits: Limits) -> Move:
    """Decide; `apply` carries the decision into the life."""
    age_s = seen.now - life.since
    if life.state is State.GAVE_UP:
        return Move.STAY
    if life.state is State.WAITING:
        return Move.START if age_s >= wait_s(life, limits) else Move.STAY
    if life.state is State.STOPPING:
        return Move.RENEW if seen.has_ended or age_s > limits.stop_timeout_s else Move.STAY
    if seen.has_ended:
        return Move.BURY
    if life.state is State.STARTING:
        if seen.answered_at is not None:
            return Move.SETTLE
        return Move.REPLACE if age_s > limits.start_timeout_s else Move.STAY
    silent_s = seen.now - max(seen.answered_at or life.since, life.since)
    return Move.REPLACE if silent_s > limits.silence_s else Move.STAY


def wait_s(life: Life, limits: Limits) -> float:
    """How long to wait before the next start."""
    return min(limits.first_wait_s * 2.0**life.failed_starts, limits.longest_wait_s)


def started(life: Life, now: float) -> Life:
    """It was started again. Raises ValueError unless it was waiting."""
    _check(life, State.WAITING)
    return replace(life, state=State.STARTING, since=now, restarts=life.restarts + 1)


def settled(life: Life, now: float) -> Life:
    """It answered for the first time. Raises ValueError unless it was starting."""
    _check(life, State.STARTING)
    return replace(life, state=State.READY, since=now)


def buried(life: Life, now: float, answered_at: float | None, cause: str, limits: Limits) -> Life:
    """It ended, by itself or replaced, last answering at `answered_at`. Raises ValueError unless it was alive."""
    _check(life, State.STARTING, State.READY)
    well_s = (answered_at or life.since) - life.since
    had_settled = life.state is State.READY and well_s >= limits.settled_s
    failed = 0 if had_settled else life.failed_starts + 1
    state = State.GAVE_UP if failed >= limits.failed_starts else State.WAITING
    return replace(life, state=state, since=now, failed_starts=failed, last_cause=cause)


def asked_to_stop(life: Life, now: float, cause: str) -> Life:
    """It was asked to end, to be started afresh. Raises ValueError unless it was ready."""
    _check(life, State.READY)
    return replace(life, state=State.STOPPING, since=now, last_cause=cause)


def stopped(life: Life, now: float) -> Life:
    """It ended as it was asked to; it has not failed. Raises ValueError unless it was stopping."""
    _check(life, State.STOPPING)
    return replace(life, state=State.WAITING, since=now, failed_starts=0)


def _check(life: Life, *expected: State) -> None:
    if life.state not in expected:
        raise ValueError(f"illegal move: the child is {life.state.value}")
