"""A running platform whose versions may take turns: what was live and loaded there, and how that is put back."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from contracts.layout import ModelPaths
from loadtest.admin import Gateway, ModelView, Operator, OperatorError, find_token

_CALL_TIMEOUT_S = 120.0
_PUT_BACK_TIMEOUT_S = 180.0
_PAUSE_S = 0.5


class CannotTakeTurns(Exception):
    """Versions cannot take turns there; the message says why."""


@dataclass(frozen=True)
class Found:
    """A model as it was: `live`, what stayed loaded beside it (the last one first), and the version to change with."""

    live: int
    other: int
    kept: tuple[int, ...]


@dataclass(frozen=True)
class Platform:
    """A gateway, its repository as it is to be seen from here, and the folder of its operators' token."""

    url: str
    model: str = "mnist"
    repository: Path = Path("model_repo")
    home: Path = Path(".twinserve")

    def find(self) -> Found:
        """Looks, and changes nothing. Raises CannotTakeTurns, OSError."""
        gateway = self._gateway()
        try:
            shown = asyncio.run(_show(gateway, self.model))
        except OperatorError as error:
            raise CannotTakeTurns(str(error)) from error
        if shown.candidate is not None:
            raise CannotTakeTurns(f"a change of {self.model} is under way")
        here = set(shown.ledgers) & set(ModelPaths(self.repository, self.model).published())
        others = sorted(here - {shown.live})
        if shown.live not in here or not others:
            raise CannotTakeTurns(
                f"it takes two published versions of {self.model}: "
                f"{self.repository} has {sorted(here)}, live is {shown.live}"
            )
        loaded = [version for version in shown.kept if version in others]
        return Found(shown.live, loaded[0] if loaded else others[-1], shown.kept)

    def put_back(self, found: Found) -> str:
        """Why what was live and loaded is not so again, or nothing; a change still under way is waited for."""
        try:
            return asyncio.run(_put_back(self._gateway(), self.model, found))
        except CannotTakeTurns as error:
            return str(error)

    def _gateway(self) -> Gateway:
        token = find_token(os.environ, self.home)
        if token is None:
            raise CannotTakeTurns(
                "there is no operators' token: set TWINSERVE_ADMIN_TOKEN, or run this where `twinserve up` runs"
            )
        return Gateway(self.url.rstrip("/"), token)


async def _show(gateway: Gateway, model: str) -> ModelView:
    async with Operator(gateway, model, _CALL_TIMEOUT_S) as operator:
        return await operator.show()


async def _put_back(gateway: Gateway, model: str, found: Found) -> str:
    clock = asyncio.get_running_loop().time
    deadline, fault = clock() + _PUT_BACK_TIMEOUT_S, ""
    async with Operator(gateway, model, _CALL_TIMEOUT_S) as operator:
        while clock() < deadline:
            try:
                shown = await operator.show()
                if shown.candidate is not None:
                    fault = "a change is still under way"
                elif _is_as(shown, found):
                    return ""
                else:
                    fault = f"version {shown.live} is live, {list(shown.kept)} stay loaded"
                    await operator.promote(_next_promote(shown, found), len(found.kept))
            except OperatorError as error:
                fault = str(error)
            await asyncio.sleep(_PAUSE_S)
    return f"version {found.live} live with {list(found.kept)} loaded beside it is not put back: {fault}"


def _is_as(shown: ModelView, found: Found) -> bool:
    return shown.live == found.live and set(shown.kept) == set(found.kept)


def _next_promote(shown: ModelView, found: Found) -> int:
    """What was live before a promote stays loaded after it: so what is missing comes first, what was live last."""
    missing = [version for version in found.kept if version not in (shown.live, *shown.kept)]
    return missing[-1] if missing else found.live
