"""Open Inference Protocol V2 over HTTP: the routes under /v2."""

from collections.abc import Awaitable
from functools import partial
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.core.errors import ServingError
from gateway.core.router import VersionRoute
from gateway.core.tensors import Signature
from gateway.protocols.call import Question
from gateway.protocols.catalogue import Catalogue
from gateway.protocols.exchange import Exchange, HttpContent
from gateway.protocols.express import InferenceRoutes
from gateway.protocols.known_documents import KnownDocuments
from gateway.protocols.large_bodies import LARGE_STRINGS_BYTES, LargeBodies
from gateway.protocols.oip import HEADER_LENGTH, encode_answer, encode_error


class OipCodec:
    """Bodies of the Open Inference Protocol."""

    protocol = "oip_http"

    def __init__(self, large: LargeBodies) -> None:
        self._large = large
        self._known = KnownDocuments()

    def decode(
        self, body: bytes, request: Request, route: VersionRoute
    ) -> Question[HttpContent] | Awaitable[Question[HttpContent]]:
        """See gateway.protocols.exchange.Codec."""
        header_length = request.headers.get(HEADER_LENGTH)
        if route.signature.takes_bytes and len(body) >= LARGE_STRINGS_BYTES:
            return self._large.take(lambda: self._question(body, header_length, route.signature))
        return self._question(body, header_length, route.signature)

    def _question(self, body: bytes, header_length: str | None, signature: Signature) -> Question[HttpContent]:
        decoded = self._known.decode(body, header_length, signature)
        asked = decoded.asked
        return Question(
            inputs=decoded.inputs,
            encode=partial(encode_answer, asked=asked),
            outputs=asked.outputs,
            engine=asked.engine,
            timeout_s=asked.timeout_s,
        )

    def encode_error(self, error: ServingError) -> bytes:
        """See gateway.protocols.exchange.Dialect."""
        return encode_error(error.message)


_OR_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"description": "Not yet, or not any more"}}


def make_router(exchange: Exchange, catalogue: Catalogue, express: InferenceRoutes, large: LargeBodies) -> APIRouter:
    """The routes; those that infer are told to `express` too."""
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol V2"])
    _add_server_routes(routes, catalogue)
    _add_model_routes(routes, catalogue)
    _add_triton_routes(routes, catalogue)
    codec = OipCodec(large)

    @routes.post("/models/{model}/infer", summary="Infer with the live version", openapi_extra=_INFER_BODY)
    async def infer(request: Request, model: str) -> Response:
        return await exchange.run(codec, request, model, None)

    @routes.post("/models/{model}/versions/{version}/infer", summary="Infer", openapi_extra=_INFER_BODY)
    async def infer_version(request: Request, model: str, version: str) -> Response:
        return await exchange.run(codec, request, model, version)

    express.add("/v2/models/{model}/infer", codec)
    express.add("/v2/models/{model}/versions/{version}/infer", codec)
    return routes


def _add_server_routes(routes: APIRouter, catalogue: Catalogue) -> None:
    @routes.get("", summary="Server metadata")
    async def server() -> dict[str, Any]:
        return catalogue.server()

    @routes.get("/health/live", summary="Whether the gateway runs")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @routes.get("/health/ready", summary="Whether every model's live version can be answered", responses=_OR_NOT_READY)
    async def ready() -> Response:
        return _readiness({"ready": catalogue.is_ready}, catalogue.is_ready)


def _add_model_routes(routes: APIRouter, catalogue: Catalogue) -> None:
    def is_ready(model: str, version: str | None) -> Response:
        can_answer = catalogue.can_answer(model, version)
        return _readiness({"name": model, "ready": can_answer}, can_answer)

    @routes.get("/models/stats", summary="Triton's statistics of every version that can be asked for")
    async def all_statistics() -> dict[str, Any]:
        return {"model_stats": catalogue.statistics(None, None)}

    @routes.get("/models/{model}", summary="Model metadata, of the live version")
    async def model_metadata(model: str) -> dict[str, Any]:
        return catalogue.model(model, None)

    @routes.get("/models/{model}/versions/{version}", summary="Model metadata")
    async def version_metadata(model: str, version: str) -> dict[str, Any]:
        return catalogue.model(model, version)

    @routes.get("/models/{model}/ready", summary="Whether the live version can be answered", responses=_OR_NOT_READY)
    async def model_ready(model: str) -> Response:
        return is_ready(model, None)

    @routes.get(
        "/models/{model}/versions/{version}/ready",
        summary="Whether a version can be answered",
        responses=_OR_NOT_READY,
    )
    async def version_ready(model: str, version: str) -> Response:
        return is_ready(model, version)


def _add_triton_routes(routes: APIRouter, catalogue: Catalogue) -> None:
    """What Triton's model configuration and statistics extensions add."""

    @routes.get("/models/{model}/config", summary="Triton's model configuration, of the live version")
    async def model_config(model: str) -> dict[str, Any]:
        return catalogue.config(model, None)

    @routes.get("/models/{model}/versions/{version}/config", summary="Triton's model configuration")
    async def version_config(model: str, version: str) -> dict[str, Any]:
        return catalogue.config(model, version)

    @routes.get("/models/{model}/stats", summary="Triton's statistics, of all versions of a model")
    async def model_statistics(model: str) -> dict[str, Any]:
        return {"model_stats": catalogue.statistics(model, None)}

    @routes.get("/models/{model}/versions/{version}/stats", summary="Triton's statistics")
    async def version_statistics(model: str, version: str) -> dict[str, Any]:
        return {"model_stats": catalogue.statistics(model, version)}


def _readiness(document: dict[str, Any], is_ready: bool) -> Response:
    if is_ready:
        return JSONResponse(document)
    return JSONResponse(document, 503, {"Retry-After": "1"})


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
