"""TensorFlow Serving's REST routes: those that are documented, and all else that begins with /v1, for its errors."""

import re
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.protocols.tfserving_rest import TensorFlowRest

_MODEL = "/v1/models/{model}"
_VERSION = _MODEL + "/versions/{version}"
_LABEL = _MODEL + "/labels/{label}"

_DOCUMENTED = (
    ("POST", _MODEL + ":predict", "Predict with the live version"),
    ("POST", _VERSION + ":predict", "Predict"),
    ("POST", _LABEL + ":predict", "Predict with the version that is live, stable or canary"),
    ("GET", _MODEL, "Versions that engines hold, and their states"),
    ("GET", _VERSION, "The state of one version"),
    ("GET", _MODEL + "/metadata", "The signatures of the live version"),
    ("GET", _VERSION + "/metadata", "The signatures of one version"),
)
_EVERY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "signature_name": {"type": "string"},
                    "instances": {"type": "array", "items": {}},
                    "inputs": {},
                },
            }
        }
    },
}


def make_router(dialect: TensorFlowRest) -> APIRouter:
    """The routes. What a path means is the dialect's own to say: the original's grammar is none of Starlette's."""
    routes = APIRouter(tags=["TensorFlow Serving's REST"])

    async def handle(request: Request) -> Response:
        return await dialect.handle(request)

    for method, path, summary in _DOCUMENTED:
        described: dict[str, Any] = {"parameters": [_parameter(name) for name in re.findall(r"{(\w+)}", path)]}
        if method == "POST":
            described["requestBody"] = _BODY
        routes.add_api_route(path, handle, methods=[method], summary=summary, openapi_extra=described)
    for prefix in ("/v1", "/V1"):
        routes.add_api_route(prefix + "/{rest:path}", handle, methods=_EVERY_METHOD, include_in_schema=False)
    return routes


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
