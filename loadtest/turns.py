"""Two versions that take turns on a running platform: which they are, and how the platform is left as it was found."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from contracts.layout import ModelPaths
from loadtest.admin import Gateway, ModelView, Operator, OperatorError

_CALL_TIMEOUT_S = 120.0
_PUT_BACK_TIMEOUT_S = 180.0
_PAUSE_S = 0.5
_TRIES = 3  # of a version; what others do meanwhile must not make promotes go on for ever


class CannotTakeTurns(Exception):
    """Versions cannot take turns there; the message says why."""


@dataclass(frozen=True)
class Found:
    """A model as it was: `live`, what stayed loaded beside it (the last one first), and the version to change with."""

    live: int
    other: int
    kept: tuple[int, ...]


def gateway_at(url: str, token: str | None) -> Gateway:
    """The gateway, for who may change it. Raises CannotTakeTurns without a token."""
    if token is None:
        raise CannotTakeTurns(
            "there is no operators' token: set TWINSERVE_ADMIN_TOKEN, or run this where `twinserve up` runs"
        )
    return Gateway(url.rstrip("/"), token)


async def find(gateway: Gateway, model: str, repository: Path) -> Found:
    """Look, and change nothing. Raises CannotTakeTurns, OSError.

    The version to change with is one that is loaded, so that it is loaded again afterwards, else the newest.
    """
    try:
        async with Operator(gateway, model, _CALL_TIMEOUT_S) as operator:
            shown = await operator.show()
    except OperatorError as error:
        raise CannotTakeTurns(str(error)) from error
    if shown.candidate is not None:
        raise CannotTakeTurns(f"a change of {model} is under way")
    here = set(shown.ledgers) & set(ModelPaths(repository, model).published())
    others = sorted(here - {shown.live})
    if shown.live not in here or not others:
        raise CannotTakeTurns(
            f"it takes two published versions of {model}: {repository} has {sorted(here)}, live is {shown.live}"
        )
    loaded = [version for version in shown.kept if version in others]
    return Found(shown.live, loaded[0] if loaded else others[-1], shown.kept)


async def put_back(gateway: Gateway, model: str, found: Found) -> str:
    """Why the model is not as it was found, or nothing; a change that is still under way is waited for."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + _PUT_BACK_TIMEOUT_S
    difference = fault = ""
    left = _TRIES * (1 + len(found.kept))
    async with Operator(gateway, model, _CALL_TIMEOUT_S) as operator:
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


def _difference(found: Found, shown: ModelView) -> str:
    """How the model is not as it was found; empty when it is."""
    if shown.live != found.live:
        return f"version {shown.live} is live, not {found.live}"
    if set(shown.kept) != set(found.kept):
        return f"loaded beside it are {list(shown.kept)}, not {list(found.kept)}"
    return ""


def _next_promote(found: Found, shown: ModelView) -> int:
    """Each promote keeps what was live before it: so what is missing comes first, and what was live comes last."""
    missing = [version for version in found.kept if version not in (shown.live, *shown.kept)]
    return missing[-1] if missing else found.live
