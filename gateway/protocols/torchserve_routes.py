"""TorchServe's inference routes: /predictions and /ping."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.core.router import Router
from gateway.protocols.catalogue import Catalogue
from gateway.protocols.classify import PictureInputs
from gateway.protocols.exchange import Exchange
from gateway.protocols.torchserve import PredictionCodec

_METHODS = ["GET", "PUT", "PATCH", "DELETE"]  # TorchServe takes a prediction by any method; curl -T says PUT


def make_router(exchange: Exchange, router: Router, catalogue: Catalogue, pictures: PictureInputs) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["TorchServe"])

    async def predict(request: Request, model: str, version: str | None = None) -> Response:
        return await exchange.run(PredictionCodec(model, version, router, pictures), request, model, version)

    @routes.get(
        "/ping",
        summary="Whether every model's live version can be answered",
        responses={500: {"description": "Unhealthy, as TorchServe says it"}},
    )
    async def ping() -> Response:
        is_ready = catalogue.is_ready
        return JSONResponse({"status": "Healthy" if is_ready else "Unhealthy"}, 200 if is_ready else 500)

    @routes.post("/predictions/{model}", summary="Predict with the live version", openapi_extra=_BODY)
    async def predict_live(request: Request, model: str) -> Response:
        return await predict(request, model)

    @routes.post("/predictions/{model}/{version}", summary="Predict", openapi_extra=_BODY)
    async def predict_version(request: Request, model: str, version: str) -> Response:
        return await predict(request, model, version)

    routes.add_api_route("/predictions/{model}", predict_live, methods=_METHODS, include_in_schema=False)
    routes.add_api_route("/predictions/{model}/{version}", predict_version, methods=_METHODS, include_in_schema=False)
    return routes


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"oneOf": [{"type": "object"}, {"type": "array", "items": {}}]}},
            "application/octet-stream": _BINARY,
            "image/*": _BINARY,
        },
    }
}
