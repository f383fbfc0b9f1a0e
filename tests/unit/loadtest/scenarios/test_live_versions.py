"""Which versions may answer a request, by when it was sent and when its answer came."""

import pytest

from loadtest.scenarios.live_versions import LiveVersions


@pytest.mark.parametrize(
    ("begins", "ends", "allowed"),
    [
        (1, 2, {2}),  # before the swap
        (9, 11, {1, 2}),  # the swap began meanwhile
        (11, 12, {1, 2}),  # within it
        (14, 21, {1, 2}),  # sent within, answered after
        (21, 22, {1}),  # after: the old version would be stale
        (0, 30, {1, 2}),
        (-2, -1, set()),  # before anything was known: any
    ],
)
def test_who_may_answer_around_a_swap(begins: float, ends: float, allowed: set[int]) -> None:
    live = LiveVersions()
    live.may_be(0, 2)
    live.may_be(10, 2, 1)
    live.may_be(20, 1)
    assert live.between(begins, ends) == allowed


def test_nothing_known_allows_any() -> None:
    assert LiveVersions().between(1, 2) == frozenset()
