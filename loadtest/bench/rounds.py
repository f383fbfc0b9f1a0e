"""In which order comparisons run: both sides right after each other, over and over. Pure."""

from collections.abc import Iterable, Iterator

import msgspec

from loadtest.bench.cases import Case
from loadtest.bench.comparisons import Comparison

Round = tuple[Case, ...]
"""Cases that run one after the other, over and over."""


class Step(msgspec.Struct, frozen=True):
    """One run: `case` in the round number `number` of its kind, from 0; a case of a sweep belongs to no round."""

    case: Case
    round: Round = ()
    number: int | None = None


def plan_rounds(comparisons: Iterable[Comparison]) -> list[Round]:
    """The two sides of each comparison run right after each other, and a run serves as many comparisons as that allows.

    Two that share a side make a round of three with it in the middle. An open loop comes after what tells its capacity.
    """
    rounds: list[Round] = []
    for comparison in comparisons:
        duel = (comparison.b, comparison.a) if comparison.a.share else (comparison.a, comparison.b)
        if any(set(duel) <= set(known) for known in rounds):
            continue
        joined = ((at, _join(known, duel)) for at, known in enumerate(rounds))
        at, found = next(((at, found) for at, found in joined if found), (len(rounds), duel))
        rounds[at : at + 1] = [found]
    return rounds


def _join(one: Round, other: Round) -> Round | None:
    shared = set(one) & set(other)
    if len(one) != 2 or len(shared) != 1:
        return None
    (middle,) = shared
    sides = sorted((case for case in (*one, *other) if case != middle), key=lambda case: case.share is not None)
    return None if middle.share or sides[0].share else (sides[0], middle, sides[1])


def plan_steps(comparisons: Iterable[Comparison], pairs: int) -> Iterator[Step]:
    """Every run of the comparisons, in order: each round `pairs` times, then the next."""
    for cases in plan_rounds(comparisons):
        for number in range(pairs):
            for case in cases:
                yield Step(case, cases, number)
