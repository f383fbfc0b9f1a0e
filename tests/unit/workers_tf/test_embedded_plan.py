"""The state table and the policy: a snapshot in, one action out."""

import pytest

from workers.tf.embedded.plan import Action, Deed, Standing, next_action, next_due_s
from workers.tf.embedded.states import MOVES, IllegalMove, State, moved

START, LOADING, AVAILABLE, UNLOADING, END = State


def at(version: int, state: State, aspired: bool = True, leases: int = 0, due_s: float = 0.0) -> Standing:
    return Standing("m", version, state, aspired, leases, due_s)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("to", State)
def test_only_the_tables_moves_are_legal(state: State, to: State) -> None:
    if to in MOVES[state]:
        assert moved(state, to) is to
    else:
        with pytest.raises(IllegalMove, match=f"{state.name} to {to.name}"):
            moved(state, to)


def test_every_state_leads_to_the_end_and_the_end_nowhere() -> None:
    assert not MOVES[END]
    assert all(to > state for state, targets in MOVES.items() for to in targets)


CASES = {
    "nothing to do": ([at(1, AVAILABLE), at(2, END, aspired=False)], None),
    "the new one loads before the old one goes": ([at(1, AVAILABLE, False), at(2, START)], (Deed.LOAD, 2)),
    "the old one goes once the new one serves": ([at(1, AVAILABLE, False), at(2, AVAILABLE)], (Deed.UNLOAD, 1)),
    "rollback: the lower one loads first as well": ([at(1, START), at(2, AVAILABLE, False)], (Deed.LOAD, 1)),
    "a failed load keeps the old one": ([at(1, AVAILABLE, False), at(2, END)], None),
    "a load waiting for its retry keeps the old one": ([at(1, AVAILABLE, False), at(2, LOADING, due_s=99)], None),
    "nothing wanted: all goes": ([at(1, AVAILABLE, False)], (Deed.UNLOAD, 1)),
    "of several leftovers the lowest goes": (
        [at(2, AVAILABLE, False), at(1, AVAILABLE, False), at(3, LOADING, due_s=99)],
        (Deed.UNLOAD, 1),
    ),
    "the highest loads first": ([at(2, START), at(10, START), at(9, START)], (Deed.LOAD, 10)),
    "unloads come before loads": ([at(3, START), at(2, AVAILABLE), at(1, AVAILABLE, False)], (Deed.UNLOAD, 1)),
    "memory is freed first": ([at(3, START), at(1, UNLOADING, False)], (Deed.FREE, 1)),
    "a leased version keeps its memory": ([at(1, UNLOADING, False, leases=1)], None),
    "loads go on beside a leased leftover": ([at(1, UNLOADING, False, leases=1), at(2, START)], (Deed.LOAD, 2)),
    "wanted no more before it loaded": ([at(1, START, False)], (Deed.GIVE_UP, 1)),
    "wanted no more while it waits for a retry": ([at(1, LOADING, False, due_s=99)], (Deed.GIVE_UP, 1)),
    "a retry falls due": ([at(1, LOADING, due_s=5)], (Deed.LOAD, 1)),
    "a retry is not due yet": ([at(1, LOADING, due_s=11)], None),
}


@pytest.mark.parametrize("name", CASES)
def test_next_action(name: str) -> None:
    snapshot, expected = CASES[name]
    action = next_action(snapshot, now_s=10)
    assert action == (None if expected is None else Action(expected[0], "m", expected[1]))


def test_models_do_not_replace_each_other() -> None:
    snapshot = [Standing("a", 1, AVAILABLE, is_aspired=False), Standing("a", 2, END), Standing("b", 2, AVAILABLE)]
    assert next_action(snapshot, now_s=0) is None


def test_the_next_due_time_is_the_earliest_retry() -> None:
    assert next_due_s([at(1, LOADING, due_s=7), at(2, LOADING, due_s=5), at(3, AVAILABLE)]) == 5
    assert next_due_s([at(3, AVAILABLE)]) is None
