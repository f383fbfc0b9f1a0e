"""Quantiles and the spread of their ratio."""

import numpy as np
import pytest

from loadtest.latencies import Block, Quantiles, Ratio, compare_blocks


def blocks(seed: int, inside_scale: float, spread: float = 0.0) -> list[Block]:
    """Exponential latencies of mean 10 ms outside; inside `inside_scale` times as long, give or take by block."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(20):
        scale = inside_scale * float(np.exp(generator.normal(0, spread)))
        made.append(Block(generator.exponential(0.01 * scale, 300), generator.exponential(0.01, 300)))
    return made


def width(ratio: Ratio) -> float:
    assert ratio.low is not None
    assert ratio.high is not None
    return ratio.high - ratio.low


def test_quantiles_are_in_milliseconds() -> None:
    seen = Quantiles.of(np.arange(1, 1001) / 1000)
    assert (seen.count, seen.max_ms) == (1000, 1000)
    assert [seen.p50_ms, seen.p99_ms] == pytest.approx([500.5, 990.01])
    assert Quantiles.of(np.empty(0)) == Quantiles()


@pytest.mark.parametrize("scale", [0.5, 3.0])
@pytest.mark.long
def test_nineteen_of_twenty_intervals_hold_the_true_ratio(scale: float) -> None:
    runs = [compare_blocks(blocks(seed, scale), resamples=100) for seed in range(40)]
    for ratios in zip(*runs, strict=True):
        held = [
            ratio.low is not None and ratio.high is not None and ratio.low <= scale <= ratio.high for ratio in ratios
        ]
        assert 0.81 < np.mean(held) <= 1  # 0.95 give or take four standard errors
        assert np.mean([width(ratio) for ratio in ratios]) < 0.4 * scale
        assert np.median([ratio.value or 0 for ratio in ratios]) == pytest.approx(scale, rel=0.03)


@pytest.mark.long
def test_events_that_differ_widen_the_interval() -> None:
    """Requests of one event are alike: treating them as independent would claim too much."""
    [alike, _], [varied, _] = compare_blocks(blocks(1, 1)), compare_blocks(blocks(1, 1, spread=0.5))
    assert width(varied) > 2 * width(alike)


def test_the_same_data_give_the_same_interval() -> None:
    some = blocks(1, 2)
    assert compare_blocks(some) == compare_blocks(some)


def test_too_little_is_said_to_be_too_little() -> None:
    empty = np.empty(0)
    assert compare_blocks([]) == (Ratio(), Ratio())
    assert compare_blocks([Block(np.array([0.01]), empty)]) == (Ratio(), Ratio())
    p50, p99 = compare_blocks([Block(np.array([0.02]), np.array([0.01]))])
    assert p50 == p99 == Ratio(2.0)
    # All that is outside is in one of many blocks: most draws miss it or have only it.
    lopsided = [Block(np.array([0.02]), empty) for _ in range(9)] + [Block(empty, np.array([0.01]))]
    assert compare_blocks(lopsided, resamples=200)[0].value == 2.0
