"""Triton's model repository extension, whatever it travels by: index, load, unload.

Here a load promotes (parameter `version`, or one specific version in the `version_policy` of parameter `config`,
default the newest), a load of the live version is a no-op for anybody, and the live version cannot be unloaded; what
changes anything needs the operators' token. Other parameters would change what is served, so they are refused. Source:
Triton Inference Server, docs/protocol/extension_model_repository.md.
"""

import json
from collections.abc import Mapping
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

    async def load(self, model: str, parameters: Mapping[str, Any], authorization: str) -> None:
        """Promote a version, and wait for the end of it.

        Raises NotFound, InvalidRequest, Unauthenticated, Conflict, Unavailable, RepositoryFailed.
        """
        wished = _version_to_load(model, parameters)
        published = self._published(model)
        target = max(published.versions) if wished is None else wished
        if target == published.live:
            return
        self._operators.check_header(authorization)
        ended = await self._rollouts.wait(model, await self._rollouts.promote(model, Plan(target)))
        if ended.state == "failed":
            raise Conflict(f"version {target} of {model} did not go live: {ended.reason}")

    async def unload(self, model: str, parameters: Mapping[str, Any], authorization: str) -> None:
        """Stop keeping a version. Raises NotFound, InvalidRequest, Unauthenticated, Conflict, RepositoryFailed."""
        _refuse_others(parameters, ("version", "unload_dependents"))  # nothing depends on a model here
        wished = _parse_version(model, parameters.get("version"))
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


def _version_to_load(model: str, parameters: Mapping[str, Any]) -> int | None:
    _refuse_others(parameters, ("version", "config"))
    wished = {
        version
        for version in (
            _parse_version(model, parameters.get("version")),
            _version_in_config(model, parameters.get("config")),
        )
        if version is not None
    }
    if len(wished) > 1:
        raise InvalidRequest(f"parameters 'version' and 'config' ask for versions {sorted(wished)}: expected one")
    return wished.pop() if wished else None


def _version_in_config(model: str, given: Any) -> int | None:
    """The version that a model configuration's version policy names; None when it leaves that open."""
    if given is None:
        return None
    try:
        config = json.loads(given)
        policy = config.pop("version_policy", {"latest": {"num_versions": 1}})
        is_this = config.pop("name", model) == model and not config
        if is_this and policy == {"latest": {"num_versions": 1}}:
            return None
        [version] = policy["specific"]["versions"]
        if is_this and set(policy) == {"specific"}:
            return _parse_version(model, version)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    raise InvalidRequest(
        f"parameter 'config' is {str(given)[:80]!r}: here it can only name one version to go live, as "
        '{"version_policy": {"specific": {"versions": [2]}}}'
    )


def _refuse_others(parameters: Mapping[str, Any], known: tuple[str, ...]) -> None:
    if others := sorted(parameters.keys() - set(known)):
        raise InvalidRequest(f"parameter {others[0][:40]!r} is not supported here: expected {' or '.join(known)}")


def _parse_version(model: str, given: Any) -> int | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | str):
        raise InvalidRequest(f"parameter 'version' is {str(given)[:40]!r}: expected a positive integer")
    return parse_version(model, str(given))
