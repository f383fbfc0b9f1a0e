"""Order and length of what is measured."""

from itertools import pairwise

import pytest

from loadtest.compare.plan import FULL, QUICK, Side, Sizes, alternate, plan_pairs, planned_seconds

A, B = Side.A, Side.B


def test_pairs_come_as_abba_or_baab_by_chance() -> None:
    planned = plan_pairs(40, seed=1)
    blocks = [planned[at] + planned[at + 1] for at in range(0, 40, 2)]
    assert set(blocks) == {(A, B, B, A), (B, A, A, B)}
    assert any(first == second for first, second in pairwise(blocks))
    assert planned == plan_pairs(40, seed=1)
    assert planned != plan_pairs(40, seed=2)


def test_both_sides_have_the_same_mean_place() -> None:
    slots = [side for pair in plan_pairs(12, seed=3) for side in pair]
    assert sum(n for n, side in enumerate(slots) if side is A) == sum(n for n, side in enumerate(slots) if side is B)


def test_what_is_compared_with_itself_takes_turns_by_blocks() -> None:
    assert alternate(("x", "y"), 6) == ("x", "x", "y", "y", "x", "x")


@pytest.mark.parametrize(("sizes", "most_s"), [(QUICK, 180), (FULL, 1800)])
def test_the_usual_sizes_keep_their_promise_with_time_to_spare(sizes: Sizes, most_s: float) -> None:
    assert planned_seconds(sizes, has_direct=True) < 0.95 * most_s
