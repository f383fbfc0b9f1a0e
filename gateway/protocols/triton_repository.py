"""Triton's model repository extension: index, load, unload.

Here a load promotes (parameter `version`, default the newest), a load of the live version is a no-op for anybody, and
the live version cannot be unloaded; what changes anything needs the operators' token. Source: Triton Inference Server,
docs/protocol/extension_model_repository.md.
"""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.core.errors import Conflict, InvalidRequest, NotFound
from gateway.core.keeper import Keeper
from gateway.core.plan import Plan
from gateway.core.ports import VersionState
from gateway.core.rollouts import Rollouts
from gateway.protocols.exchange import parse_version
from gateway.protocols.operators import Operators
from gateway.protocols.orders import read_order


class _Load(msgspec.Struct, frozen=True):
    parameters: dict[str, Any] = {}


class _Index(msgspec.Struct, frozen=True):
    ready: bool = False


def make_router(keeper: Keeper, rollouts: Rollouts, operators: Operators) -> APIRouter:
    """The routes under /v2/repository."""
    routes = APIRouter(prefix="/v2/repository", tags=["Triton's model repository extension"])

    @routes.post("/index", summary="Versions and their states")
    async def index(request: Request) -> list[dict[str, str]]:
        only_ready = (await read_order(request, _Index)).ready
        return [entry for entry in list_versions(keeper) if entry["state"] == "READY" or not only_ready]

    @routes.post("/models/{model}/load", summary="Promote a version")
    async def load(request: Request, model: str) -> Response:
        version = _version_of(model, await read_order(request, _Load))
        published = keeper.models.get(model)
        if published is None:
            raise NotFound(f"unknown model {model!r}: expected one of {sorted(keeper.models)}")
        target = max(published.versions) if version is None else version
        if target == published.live:
            return Response(status_code=200)
        operators.check(request)
        ended = await rollouts.wait(model, await rollouts.promote(model, Plan(target)))
        if ended.state == "failed":
            raise Conflict(f"version {target} of {model} did not go live: {ended.reason}")
        return Response(status_code=200)

    @routes.post("/models/{model}/unload", summary="Refused for the live version")
    async def unload(request: Request, model: str) -> Response:
        version = _version_of(model, await read_order(request, _Load))
        published = keeper.models.get(model)
        if published is None:
            raise NotFound(f"unknown model {model!r}: expected one of {sorted(keeper.models)}")
        if version is None or version == published.live:
            raise Conflict(f"version {published.live} of {model} is live and cannot be unloaded: promote another first")
        if version not in published.versions:
            raise NotFound(
                f"unknown version {version} of model {model!r}: expected one of {sorted(published.versions)}"
            )
        if version in published.kept:
            operators.check(request)
            await rollouts.stop_keeping(model, version)
        return Response(status_code=200)

    return routes


def list_versions(keeper: Keeper) -> list[dict[str, str]]:
    """The index: READY where an engine can answer, else why not."""
    entries = []
    for model in keeper.models.values():
        for version in sorted(model.versions):
            seen = [states.get((model.name, version)) for states in keeper.observed.values()]
            there = [observed for observed in seen if observed is not None]
            if any(observed.state is VersionState.READY for observed in there):
                state, reason = "READY", ""
            elif any(observed.state in (VersionState.LOADING, VersionState.WARMING) for observed in there):
                state, reason = "LOADING", ""
            else:
                state, reason = "UNAVAILABLE", next((o.reason for o in there if o.reason), "not loaded")
            entries.append({"name": model.name, "version": str(version), "state": state, "reason": reason})
    return entries


def _version_of(model: str, order: _Load) -> int | None:
    given: Annotated[Any, "what the client sent"] = order.parameters.get("version")
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | str):
        raise InvalidRequest(f"parameter 'version' is {given!r}: expected a positive integer")
    return parse_version(model, str(given))
