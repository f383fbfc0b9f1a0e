"""What to do next with the versions of all models: a snapshot in, at most one action out.

The rules (availability-preserving, tensorflow_serving/core/availability_preserving_policy.cc):

1. A version that is wanted no more goes only when a wanted one of its model is available, or none is wanted, or
   there are several such leftovers (then the lowest goes).
2. A wanted version loads beside those that serve. If it never loads, they keep serving.
3. A version being unloaded keeps its memory until its last lease is returned.
4. What frees memory comes before what takes it; among loads the highest version comes first.

Pure: no clock, no thread, no tensorflow.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from workers.tf.embedded.states import State


@dataclass(frozen=True)
class Standing:
    """How one version stands. `is_aspired`: the configuration wants it. `due_s`: when its next load may be tried."""

    model: str
    version: int
    state: State
    is_aspired: bool = True
    leases: int = 0
    due_s: float = 0.0


class Deed(Enum):
    """What the manager can do to a version."""

    FREE = "free"  # UNLOADING, no lease left: give its memory back
    GIVE_UP = "give up"  # not loaded and wanted no more
    UNLOAD = "unload"  # stop routing to it
    LOAD = "load"  # try to load it


@dataclass(frozen=True)
class Action:
    """One deed on one version."""

    deed: Deed
    model: str
    version: int


def next_action(snapshot: Sequence[Standing], now_s: float) -> Action | None:
    """The most urgent action, or None when everything is as it should be at `now_s`."""
    for standing in snapshot:
        if standing.state is State.UNLOADING and standing.leases == 0:
            return _act(Deed.FREE, standing)
    for standing in snapshot:
        if _is_unloaded(standing) and not standing.is_aspired:
            return _act(Deed.GIVE_UP, standing)
    for family in _by_model(snapshot):
        leftover = _spare_leftover(family)
        if leftover is not None:
            return _act(Deed.UNLOAD, leftover)
    due = [standing for standing in snapshot if _is_unloaded(standing) and standing.due_s <= now_s]
    if not due:
        return None
    return _act(Deed.LOAD, max(due, key=lambda standing: standing.version))


def next_due_s(snapshot: Iterable[Standing]) -> float | None:
    """When the earliest retry falls due; None when no load is waiting for its time."""
    return min((s.due_s for s in snapshot if _is_unloaded(s)), default=None)


def _spare_leftover(family: list[Standing]) -> Standing | None:
    leftovers = [s for s in family if s.state is State.AVAILABLE and not s.is_aspired]
    if not leftovers:
        return None
    aspired = [s for s in family if s.is_aspired]
    is_replaced = not aspired or any(s.state is State.AVAILABLE for s in aspired)
    if not is_replaced and len(leftovers) == 1:
        return None
    return min(leftovers, key=lambda standing: standing.version)


def _is_unloaded(standing: Standing) -> bool:
    # The loop asks only between its own loads, so LOADING here means: failed, and waiting to be tried again.
    return standing.state in (State.START, State.LOADING)


def _by_model(snapshot: Sequence[Standing]) -> list[list[Standing]]:
    families: defaultdict[str, list[Standing]] = defaultdict(list)
    for standing in snapshot:
        families[standing.model].append(standing)
    return list(families.values())


def _act(deed: Deed, standing: Standing) -> Action:
    return Action(deed, standing.model, standing.version)
