"""The part of a comparison that changes something: two versions change places under load, and are put back.

It runs last, so that nothing else is measured on versions that have just been loaded.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contracts.layout import ModelPaths
from loadtest.admin import Gateway, ModelView, Operator, OperatorError
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
_PUT_BACK_TIMEOUT_S = 120.0
_PAUSE_S = 0.5
_TRIES = 3  # of a version; what others do meanwhile must not make promotes go on for ever


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
    found: ModelView
    seed: int

    @property
    def planned_s(self) -> float:
        return _LEAD_S + self.swaps * (_PLANNED_SWAP_S + _GAP_S)


def prepare_swaps(deployment: Deployment, token: str | None, repository: Path, swaps: int, seed: int) -> Swapping:
    """Find out whether it can be done; nothing is changed. Raises CannotSwap."""
    if token is None:
        raise CannotSwap(
            "there is no operators' token: set TWINSERVE_ADMIN_TOKEN, or run this where `twinserve up` runs"
        )
    if not deployment.questions.origin.startswith("the version"):
        raise CannotSwap("the repository here has no golden rows of the live version, so answers could not be checked")
    gateway = Gateway(deployment.url, token)
    try:
        found = asyncio.run(_show(gateway, deployment.model))
    except OperatorError as error:
        raise CannotSwap(str(error)) from error
    here = ModelPaths(repository, deployment.model).published()
    others = [version for version in sorted(set(found.ledgers) & set(here)) if version != found.live]
    if not others or found.live not in here:
        raise CannotSwap(f"it takes two published versions of {deployment.model}: {sorted(found.ledgers)} are")
    kept = [version for version in found.kept if version in others]
    versions = (found.live, kept[0] if kept else others[-1])  # so that what is kept is kept again
    try:
        known = KnownAnswers.read(repository, deployment.model, versions)
    except (OSError, ValueError) as error:
        raise CannotSwap(str(error)) from error
    target = Target(deployment.url, deployment.model)
    return Swapping(gateway, target, known, versions, swaps, found, seed)


async def _show(gateway: Gateway, model: str) -> ModelView:
    async with Operator(gateway, model, _SWAP_TIMEOUT_S) as operator:
        return await operator.show()


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
        fault = await _put_back(swapping)
        if fault:
            say(f"version {swapping.found.live} is not put back: {fault}")
    if run.observed is None:
        raise CannotSwap("nothing was observed")
    return make_timeline(run.observed, rate_per_s, swapping.found.live, fault)


async def _put_back(swapping: Swapping) -> str:
    """Why the model is not as it was found; a change that is still under way is waited for."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + _PUT_BACK_TIMEOUT_S
    found, difference, fault = swapping.found, "", ""
    left = _TRIES * (1 + len(found.kept))
    async with Operator(swapping.gateway, swapping.target.model, _SWAP_TIMEOUT_S) as operator:
        while clock() < deadline:
            try:
                shown = await operator.show()
                difference = _difference(found, shown)
                if shown.candidate is not None:
                    fault = "a change is still under way"
                elif not difference:
                    return ""
                elif not left:
                    break
                else:
                    await operator.promote(_next_promote(found, shown), len(found.kept))
                    left, fault = left - 1, ""
            except OperatorError as error:
                fault = str(error)
            await asyncio.sleep(_PAUSE_S)  # another of the gateway's processes may follow a moment later
    return ": ".join(filter(None, (difference, fault))) or "the gateway was not asked in time"


def _difference(found: ModelView, shown: ModelView) -> str:
    """How the model is not as it was found; empty when it is."""
    if shown.live != found.live:
        return f"version {shown.live} is live, not {found.live}"
    if set(shown.kept) != set(found.kept):
        return f"loaded beside it are {list(shown.kept)}, not {list(found.kept)}"
    return ""


def _next_promote(found: ModelView, shown: ModelView) -> int:
    """Each promote keeps what was live before it: so what is missing comes first, and what was live comes last."""
    missing = [version for version in found.kept if version not in (shown.live, *shown.kept)]
    return missing[-1] if missing else found.live
