"""Triton's model repository extension, whatever it travels by: index, load, unload.

Here a load promotes (parameter `version`, default the newest), a load of the live version is a no-op for anybody, and
the live version cannot be unloaded; what changes anything needs the operators' token. Source: Triton Inference Server,
docs/protocol/extension_model_repository.md.
"""

from typing import Any

from gateway.core.errors import Conflict, InvalidRequest, NotFound
from gateway.core.keeper import Keeper
from gateway.core.lifecycle import best_seen
from gateway.core.plan import Plan
from gateway.core.ports import VersionState
from gateway.core.published import PublishedModel
from gateway.core.rollouts import Rollouts
from gateway.protocols.conversation import parse_version
from gateway.protocols.operators import Operators

_STATES = {VersionState.READY: "READY", VersionState.WARMING: "LOADING", VersionState.LOADING: "LOADING"}


class ModelRepository:
    """Carries out what clients ask of the repository. `authorization` is what they said in a header of that name."""

    def __init__(self, keeper: Keeper, rollouts: Rollouts, operators: Operators) -> None:
        self._keeper = keeper
        self._rollouts = rollouts
        self._operators = operators

    def index(self, is_only_ready: bool) -> list[dict[str, str]]:
        """Name, version, state and reason of every version: READY where an engine can answer, else why not."""
        entries = [
            self._describe(model.name, version)
            for model in self._keeper.models.values()
            for version in sorted(model.versions)
        ]
        return [entry for entry in entries if entry["state"] == "READY" or not is_only_ready]

    async def load(self, model: str, version: Any, authorization: str) -> None:
        """Promote a version, and wait for the end of it; `version` as the client sent it, None for the newest.

        Raises NotFound, InvalidRequest, Unauthenticated, Conflict, Unavailable, RepositoryFailed.
        """
        wished = _parse_parameter(model, version)
        published = self._published(model)
        target = max(published.versions) if wished is None else wished
        if target == published.live:
            return
        self._operators.check_header(authorization)
        ended = await self._rollouts.wait(model, await self._rollouts.promote(model, Plan(target)))
        if ended.state == "failed":
            raise Conflict(f"version {target} of {model} did not go live: {ended.reason}")

    async def unload(self, model: str, version: Any, authorization: str) -> None:
        """Stop keeping a version. Raises NotFound, InvalidRequest, Unauthenticated, Conflict, RepositoryFailed."""
        wished = _parse_parameter(model, version)
        published = self._published(model)
        if wished is None or wished == published.live:
            raise Conflict(f"version {published.live} of {model} is live and cannot be unloaded: promote another first")
        if wished not in published.versions:
            raise NotFound(f"unknown version {wished} of model {model!r}: expected one of {sorted(published.versions)}")
        if wished in published.kept:
            self._operators.check_header(authorization)
            await self._rollouts.stop_keeping(model, wished)

    def _published(self, model: str) -> PublishedModel:
        published = self._keeper.models.get(model)
        if published is None:
            raise NotFound(f"unknown model {model!r}: expected one of {sorted(self._keeper.models)}")
        return published

    def _describe(self, model: str, version: int) -> dict[str, str]:
        seen = best_seen(self._keeper.observed, model, version)
        state = _STATES.get(seen.state, "UNAVAILABLE") if seen else "UNAVAILABLE"
        reason = "" if state != "UNAVAILABLE" else (seen and seen.reason) or "not loaded"
        return {"name": model, "version": str(version), "state": state, "reason": reason}


def _parse_parameter(model: str, given: Any) -> int | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | str):
        raise InvalidRequest(f"parameter 'version' is {str(given)[:40]!r}: expected a positive integer")
    return parse_version(model, str(given))
