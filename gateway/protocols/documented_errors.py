"""What may go wrong, for the OpenAPI document: which statuses an operation answers with, what they mean, how they look.

Pure: a document in, a document out. The meanings are those of the errors themselves. FastAPI would say 422 everywhere,
which nobody gets here.
"""

import copy
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from gateway.protocols.http_status import STATUS

_ASKED = (400, 404, 408, 413, 415, 429, 501, 502, 503, 504)
_ORDERED = (400, 401, 404, 408, 409, 413, 500, 503)

# By method and path; the first that fits counts.
_STATUSES: Mapping[str, tuple[int, ...]] = {
    r"POST (.*(/infer|/classify|:\w+)|/predictions/.*)": _ASKED,
    r"POST /v2/repository/index": (400, 408, 413),
    r"POST /v2/repository/.*": _ORDERED,
    r"GET /admin/.*": (401, 404),
    r"\w+ /admin/.*": _ORDERED,
    r"GET .*{model}.*": (400, 404),
}

_PLAIN = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_TORCHSERVE = {
    "type": "object",
    "required": ["code", "type", "message"],
    "properties": {"code": {"type": "integer"}, "type": {"type": "string"}, "message": {"type": "string"}},
}
_SHAPES = {"Error": _PLAIN, "TorchServeError": _TORCHSERVE}


def with_errors(document: dict[str, Any]) -> dict[str, Any]:
    """The document with every status that is no success, its meaning and the JSON that comes with it."""
    told = copy.deepcopy(document)
    for path, operations in told["paths"].items():
        shape = "TorchServeError" if path.startswith("/predictions/") else "Error"
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape}"}}}
        for method, operation in operations.items():
            operation["responses"].pop("422", None)
            for status in _statuses(method, path):
                described = {"description": _MEANINGS[status], "content": content}
                operation["responses"].setdefault(str(status), described)
    schemas = told.setdefault("components", {}).setdefault("schemas", {})
    for ours_not in ("HTTPValidationError", "ValidationError"):
        schemas.pop(ours_not, None)
    schemas.update(_SHAPES)
    return told


def _statuses(method: str, path: str) -> tuple[int, ...]:
    label = f"{method.upper()} {path}"
    return next((statuses for pattern, statuses in _STATUSES.items() if re.fullmatch(pattern, label)), ())


def _meanings() -> Mapping[int, str]:
    """What a status means, in the words of the errors that it stands for: special cases of a kind go without saying."""
    said: dict[int, list[str]] = defaultdict(list)
    for kind, status in STATUS.items():
        if STATUS.get(kind.__mro__[1]) != status:
            said[status].append((kind.__doc__ or "").splitlines()[0])
    return {status: " Or: ".join(sentences) for status, sentences in said.items()}


_MEANINGS = _meanings()
