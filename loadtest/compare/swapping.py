"""The part of a comparison that changes something: two versions change places under load, and are put back.

It runs last, so that nothing else is measured on versions that have just been loaded.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loadtest import turns
from loadtest.admin import Gateway, OperatorError
from loadtest.compare.deployment import Deployment
from loadtest.compare.timeline import SwapTimeline, make_timeline
from loadtest.known_answers import KnownAnswers
from loadtest.open_loop import Target
from loadtest.swap_run import SwapPlan, SwapRun

QUICK_SWAPS, FULL_SWAPS = 2, 6
MOST_RATE_PER_S = 200.0
"""Beside versions that are being loaded, a client that asks more would be short of a processor itself."""

_LEAD_S, _GAP_S = 2.0, 1.0
_PLANNED_SWAP_S = 6.0
_SWAP_TIMEOUT_S = 120.0


class CannotSwap(Exception):
    """Versions cannot change places here; the message says why."""


@dataclass(frozen=True)
class Swapping:
    """What is needed for it. `found`: the model as it was before."""

    gateway: Gateway
    target: Target
    known: KnownAnswers
    versions: tuple[int, int]
    swaps: int
    found: turns.Found
    seed: int

    @property
    def planned_s(self) -> float:
        return _LEAD_S + self.swaps * (_PLANNED_SWAP_S + _GAP_S)


def prepare_swaps(deployment: Deployment, token: str | None, repository: Path, swaps: int, seed: int) -> Swapping:
    """Find out whether it can be done; nothing is changed. Raises CannotSwap."""
    if not deployment.questions.origin.startswith("the version"):
        raise CannotSwap("the repository here has no golden rows of the live version, so answers could not be checked")
    try:
        gateway = turns.gateway_at(deployment.url, token)
        found = asyncio.run(turns.find(gateway, deployment.model, repository))
    except (turns.CannotTakeTurns, OSError) as error:
        raise CannotSwap(str(error)) from error
    versions = (found.live, found.other)
    try:
        known = KnownAnswers.read(repository, deployment.model, versions)
    except (OSError, ValueError) as error:
        raise CannotSwap(str(error)) from error
    target = Target(deployment.url, deployment.model)
    return Swapping(gateway, target, known, versions, swaps, found, seed)


async def run_swaps(
    swapping: Swapping, rate_per_s: float, say: Callable[[str], None], interrupted: asyncio.Event
) -> SwapTimeline:
    """Swap under load, then put back what was live and kept. Raises CannotSwap when it could not begin."""
    rate_per_s = min(rate_per_s, MOST_RATE_PER_S)
    kept = len(swapping.found.kept)
    plan = SwapPlan(
        versions=swapping.versions,
        rate_per_s=rate_per_s,
        promotes=swapping.swaps,
        keep=0 if kept <= 1 else kept,  # one that was kept comes back with the last promote; several would not
        last_keep=kept,
        lead_s=_LEAD_S,
        gap_s=_GAP_S,
        seed=swapping.seed,
        swap_timeout_s=_SWAP_TIMEOUT_S,
    )
    run = SwapRun(plan, swapping.gateway, swapping.target, swapping.known, say)
    fault = "it was not tried"
    try:
        await run.run(interrupted)
    except OperatorError as error:
        raise CannotSwap(str(error)) from error
    finally:
        fault = await turns.put_back(swapping.gateway, swapping.target.model, swapping.found)
        if fault:
            say(f"version {swapping.found.live} is not put back: {fault}")
    if run.observed is None:
        raise CannotSwap("nothing was observed")
    return make_timeline(run.observed, rate_per_s, swapping.found.live, fault)
