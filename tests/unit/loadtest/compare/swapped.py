"""A run of swaps that never was: a hundred requests a second for six seconds, two promotes, some errors."""

from collections.abc import Sequence

from loadtest.admin import Ledger
from loadtest.compare.timeline import SwapTimeline, make_timeline
from loadtest.open_loop import Fate, Outcome
from loadtest.swap_report import Observed, Swap

STARTED_AT = 1000.0
FLIPS_S = (2.5, 4.5)
SWAPS = tuple(
    Swap(
        "promote",
        before,
        after,
        STARTED_AT + flip_s - 0.5,
        STARTED_AT + flip_s + 0.25,
        phases={"load": 0.4, "flip": 0.1},
    )
    for flip_s, before, after in zip(FLIPS_S, (2, 1), (1, 2), strict=True)
)
FAILED, LOST, WRONG = 211, 212, 455


def outcome(number: int) -> Outcome:
    """One request each ten milliseconds; slower while versions change places."""
    due_s = number / 100
    flips = sum(due_s >= flip_s for flip_s in FLIPS_S)
    is_inside = any(swap.started_at <= STARTED_AT + due_s <= swap.ended_at for swap in SWAPS)
    ended_at = STARTED_AT + due_s + (0.012 + 0.001 * (number % 7) if is_inside else 0.004 + 0.0005 * (number % 5))
    fate = {FAILED: Fate.FAILED, LOST: Fate.LOST}.get(number, Fate.ANSWERED)
    fault = "" if number not in (FAILED, LOST, WRONG) else "made up"
    version = str((2, 1, 2)[flips]) if fate is Fate.ANSWERED else ""
    return Outcome(number, fate, STARTED_AT + due_s, ended_at, 0.0001, 200, "tfserving", version, f"r{number}", fault)


OUTCOMES: Sequence[Outcome] = tuple(map(outcome, range(600)))


def make_swapped_timeline(put_back_fault: str = "") -> SwapTimeline:
    ledgers = {1: Ledger(200, 200, 0), 2: Ledger(399, 398, 1)}
    observed = Observed(STARTED_AT, OUTCOMES, SWAPS, {}, ledgers)
    return make_timeline(observed, 100.0, 2, put_back_fault)
