"""The life of a version as a table (tensorflow.serving.ModelVersionStatus.State). END is final: a version that comes
back later starts a new life."""

from enum import IntEnum


class State(IntEnum):
    """States by their numbers on the wire."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


MOVES: dict[State, frozenset[State]] = {
    State.START: frozenset({State.LOADING, State.END}),
    State.LOADING: frozenset({State.AVAILABLE, State.END}),
    State.AVAILABLE: frozenset({State.UNLOADING}),
    State.UNLOADING: frozenset({State.END}),
    State.END: frozenset(),
}


class IllegalMove(Exception):
    """The table has no such arrow: a bug in the manager, never a client's fault."""


def moved(state: State, to: State) -> State:
    """Returns `to`. Raises IllegalMove when the table does not allow it."""
    if to not in MOVES[state]:
        raise IllegalMove(f"a version cannot go from {state.name} to {to.name}")
    return to
