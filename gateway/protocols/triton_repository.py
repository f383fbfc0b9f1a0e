"""The routes of Triton's model repository extension over HTTP: /v2/repository."""

from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.protocols.model_repository import ModelRepository
from gateway.protocols.orders import read_order


class _Order(msgspec.Struct, frozen=True):
    parameters: dict[str, Any] = {}


class _Index(msgspec.Struct, frozen=True):
    ready: bool = False


def make_router(repository: ModelRepository) -> APIRouter:
    """The routes under /v2/repository."""
    routes = APIRouter(prefix="/v2/repository", tags=["Triton's model repository extension"])

    @routes.post("/index", summary="Versions and their states", openapi_extra=_INDEX_BODY)
    async def index(request: Request) -> list[dict[str, str]]:
        return repository.index((await read_order(request, _Index)).ready)

    @routes.post("/models/{model}/load", summary="Promote a version", openapi_extra=_ORDER_BODY)
    async def load(request: Request, model: str) -> Response:
        order = await read_order(request, _Order)
        await repository.load(model, order.parameters, _authorization(request))
        return Response(status_code=200)

    @routes.post("/models/{model}/unload", summary="Refused for the live version", openapi_extra=_ORDER_BODY)
    async def unload(request: Request, model: str) -> Response:
        order = await read_order(request, _Order)
        await repository.unload(model, order.parameters, _authorization(request))
        return Response(status_code=200)

    return routes


def _authorization(request: Request) -> str:
    return request.headers.get("authorization", "")


def _body(properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {"requestBody": {"required": False, "content": {"application/json": {"schema": schema}}}}


_INDEX_BODY = _body({"ready": {"type": "boolean"}})
_ORDER_BODY = _body({"parameters": {"type": "object"}})
