"""What operators see: the state of models and engines, behind a bearer token."""

import hmac
from typing import Any

from fastapi import APIRouter, Depends
from starlette.requests import Request

from gateway.core.errors import NotFound, Unauthenticated
from gateway.core.keeper import Keeper
from gateway.core.ports import Engine, PublishedModel


def make_router(keeper: Keeper, engines: tuple[Engine, ...], token: str | None) -> APIRouter:
    """The routes under /admin. Without a token nobody is let in."""

    def authenticate(request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        is_right = token is not None and hmac.compare_digest(given.encode(), token.encode())
        if scheme.lower() != "bearer" or not is_right:
            raise Unauthenticated("expected the operators' token as 'Authorization: Bearer …'")

    def describe(model: PublishedModel) -> dict[str, Any]:
        return {
            "model": model.name,
            "live": model.live,
            "routing": dict(model.weights),
            "versions": [
                {
                    "version": version,
                    "engines": {engine.name: _state(keeper, engine, model, version) for engine in engines},
                }
                for version in sorted(model.versions)
            ],
        }

    routes = APIRouter(prefix="/admin", tags=["Operators"], dependencies=[Depends(authenticate)])

    @routes.get("/models", summary="All models and engines")
    async def list_models() -> dict[str, Any]:
        return {
            "ready": keeper.is_ready,
            "engines": [
                {"engine": e.name, "implementation": e.implementation, "up": e.name in keeper.observed} for e in engines
            ],
            "models": [describe(model) for model in keeper.models.values()],
        }

    @routes.get("/models/{model}", summary="One model: its versions, which is live, and where each is loaded")
    async def show_model(model: str) -> dict[str, Any]:
        published = keeper.models.get(model)
        if published is None:
            raise NotFound(f"unknown model {model!r}: expected one of {sorted(keeper.models)}")
        return describe(published)

    return routes


def _state(keeper: Keeper, engine: Engine, model: PublishedModel, version: int) -> dict[str, str]:
    states = keeper.observed.get(engine.name)
    if states is None:
        return {"state": "unknown", "reason": "the engine is down"}
    seen = states.get((model.name, version))
    if seen is None:
        return {"state": "not loaded", "reason": ""}
    return {"state": seen.state.value, "reason": seen.reason}
