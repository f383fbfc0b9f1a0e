"""What is measured, in which order and for how long. Pure: the same seed gives the same plan."""

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Side(enum.StrEnum):
    """The two of a pair."""

    A = "a"
    B = "b"


@dataclass(frozen=True)
class Sizes:
    """How much is measured. Times in seconds; pairs are even numbers, since two make one ABBA.

    The searches share what is left of `budget_s` after the pairs, so that a slow machine gives a coarser answer, not a
    longer run. `slo_s` 0 leaves out them. `fails_needed`: so many trials at one rate must fail before the rate does.
    """

    capacity_s: float
    slot_s: float
    noise_pairs: int
    pairs: int
    direct_pairs: int
    slo_s: float
    fails_needed: int
    budget_s: float = math.inf


QUICK = Sizes(
    capacity_s=2.0, slot_s=1.5, noise_pairs=10, pairs=12, direct_pairs=8, slo_s=1.5, fails_needed=1, budget_s=170.0
)
FULL = Sizes(
    capacity_s=8.0, slot_s=8.0, noise_pairs=16, pairs=30, direct_pairs=16, slo_s=8.0, fails_needed=2, budget_s=1750.0
)

SLO_TRIALS = 10
"""Trials that a search usually takes: what time left is reckoned by."""


def plan_pairs(count: int, seed: int) -> tuple[tuple[Side, Side], ...]:
    """Who goes first in each pair: ABBA or BAAB by the toss of a coin, again and again.

    Within four slots each side has the same mean position, so that a steady drift of the machine cancels out; the coin
    keeps anything of a period of four slots from favouring a side.
    """
    coins = np.random.default_rng(seed).integers(2, size=(count + 1) // 2)
    first, second = (Side.A, Side.B), (Side.B, Side.A)
    planned = [pair for coin in coins.tolist() for pair in ((first, second) if coin else (second, first))]
    return tuple(planned[:count])


def alternate(choices: Sequence[T], pairs: int) -> tuple[T, ...]:
    """For each pair of a run of something against itself, which of `choices` it is: two pairs each, in turn."""
    return tuple(choices[number // 2 % len(choices)] for number in range(pairs))


def planned_seconds(sizes: Sizes, *, has_direct: bool) -> float:
    """How long the measuring takes, all in all."""
    slots = 2 * (1 + sizes.noise_pairs + sizes.pairs + (sizes.direct_pairs + 1 if has_direct else 0))
    searches = 2 * SLO_TRIALS * sizes.slo_s
    return 2 * sizes.capacity_s + slots * sizes.slot_s + searches
