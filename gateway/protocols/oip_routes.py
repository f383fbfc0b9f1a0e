"""Open Inference Protocol V2 over HTTP: the routes under /v2."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.core.keeper import Keeper
from gateway.core.router import Router, VersionRoute
from gateway.core.tensors import TensorSpec
from gateway.protocols.exchange import Exchange, Question, parse_version
from gateway.protocols.oip import HEADER_LENGTH, Decoded, decode_request, encode_answer

EXTENSIONS = ["binary_tensor_data"]


class OipCodec:
    """Bodies of the Open Inference Protocol."""

    protocol = "oip_http"

    async def decode(self, body: bytes, request: Request, route: VersionRoute) -> Question:
        """See gateway.protocols.exchange.Codec."""
        decoded: Decoded = decode_request(body, request.headers.get(HEADER_LENGTH), route.signature)
        return Question(
            inputs=decoded.inputs,
            encode=lambda answer: encode_answer(answer, decoded),
            outputs=decoded.outputs,
            engine=decoded.engine,
            timeout_s=decoded.timeout_s,
        )


def make_router(exchange: Exchange, router: Router, keeper: Keeper, version: str) -> APIRouter:
    """The routes; `version` is the gateway's own."""
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol V2"])
    _add_server_routes(routes, keeper, version)
    _add_model_routes(routes, router)
    codec = OipCodec()

    @routes.post("/models/{model}/infer", summary="Infer with the live version", openapi_extra=_INFER_BODY)
    async def infer(request: Request, model: str) -> Response:
        return await exchange.run(codec, request, model, None)

    @routes.post("/models/{model}/versions/{version}/infer", summary="Infer", openapi_extra=_INFER_BODY)
    async def infer_version(request: Request, model: str, version: str) -> Response:
        return await exchange.run(codec, request, model, version)

    return routes


def _add_server_routes(routes: APIRouter, keeper: Keeper, version: str) -> None:
    @routes.get("", summary="Server metadata")
    async def server() -> dict[str, Any]:
        return {"name": "twinserve", "version": version, "extensions": EXTENSIONS}

    @routes.get("/health/live", summary="Whether the gateway runs")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @routes.get("/health/ready", summary="Whether every model's live version can be answered")
    async def ready() -> Response:
        return _readiness({"ready": keeper.is_ready}, keeper.is_ready)


def _add_model_routes(routes: APIRouter, router: Router) -> None:
    def describe(model: str, version: str | None) -> dict[str, Any]:
        route = router.version(model, parse_version(model, version))
        return {
            "name": model,
            "versions": [str(number) for number in sorted(router.model(model).versions)],
            "platform": "twinserve",
            "inputs": [_tensor(spec) for spec in route.signature.inputs],
            "outputs": [_tensor(spec) for spec in route.signature.outputs],
        }

    def is_ready(model: str, version: str | None) -> Response:
        can_answer = bool(router.version(model, parse_version(model, version)).lanes)
        return _readiness({"name": model, "ready": can_answer}, can_answer)

    @routes.get("/models/{model}", summary="Model metadata, of the live version")
    async def model_metadata(model: str) -> dict[str, Any]:
        return describe(model, None)

    @routes.get("/models/{model}/versions/{version}", summary="Model metadata")
    async def version_metadata(model: str, version: str) -> dict[str, Any]:
        return describe(model, version)

    @routes.get("/models/{model}/ready", summary="Whether the live version can be answered")
    async def model_ready(model: str) -> Response:
        return is_ready(model, None)

    @routes.get("/models/{model}/versions/{version}/ready", summary="Whether a version can be answered")
    async def version_ready(model: str, version: str) -> Response:
        return is_ready(model, version)


def _readiness(document: dict[str, Any], is_ready: bool) -> Response:
    if is_ready:
        return JSONResponse(document)
    return JSONResponse(document, 503, {"Retry-After": "1"})


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


_INFER_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "parameters": {"type": "object"},
                        "inputs": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name", "datatype", "shape"],
                                "properties": {
                                    "name": {"type": "string"},
                                    "datatype": {"type": "string"},
                                    "shape": {"type": "array", "items": {"type": "integer"}},
                                    "parameters": {"type": "object"},
                                    "data": {"type": "array", "items": {}},
                                },
                            },
                        },
                        "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
                    },
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
