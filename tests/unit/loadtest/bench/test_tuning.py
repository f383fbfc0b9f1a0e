"""The search for TorchServe's best settings."""

import pytest

from loadtest.bench.targets import Batching
from loadtest.bench.tuning import find_best


@pytest.mark.parametrize(("is_quick", "tries"), [(True, 5), (False, 9)])
def test_the_fastest_settings_are_found(is_quick: bool, tries: int) -> None:
    asked: list[Batching] = []

    def try_one(batching: Batching) -> float:
        asked.append(batching)
        return 1000 - abs(batching.size - 64) - 10 * batching.delay_ms

    best, tried = find_best(try_one, is_quick=is_quick)
    assert best == Batching(64, 1)
    assert len(asked) == len(set(asked)) == len(tried) == tries


def test_all_nine_are_tried_because_size_and_delay_may_depend_on_each_other() -> None:
    best, _ = find_best(lambda b: 1.0 if b == Batching(128, 5) else 0.0, is_quick=False)
    assert best == Batching(128, 5)
