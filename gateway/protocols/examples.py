"""Examples for the OpenAPI document, made of what is served at the moment, so that each works when it is sent as shown.

Pure: a document and models in, a document out. Must not know how the document came to be.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gateway.core.router import ModelRoute
from gateway.core.tensors import BFLOAT16, BYTES, Signature, Tensor, TensorSpec

_MOST_ELEMENTS = 4096  # a page of zeros explains nothing

MakeBody = Callable[[ModelRoute, Mapping[str, Tensor]], Any]


def with_examples(document: dict[str, Any], models: Mapping[str, ModelRoute]) -> dict[str, Any]:
    """The document with the first model's name and a row of zeros for it wherever a route asks for such."""
    if not models:
        return document
    model = models[min(models)]
    names = {"model": model.name, "version": str(model.live), "label": "live"}
    rows = _row_of_zeros(model.versions[model.live].signature) if model.live in model.versions else None
    filled = copy.deepcopy(document)
    for path, operations in filled["paths"].items():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path" and parameter["name"] in names:
                    parameter["example"] = names[parameter["name"]]
            make = next((body for ending, body in _BODIES.items() if path.endswith(ending)), None)
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if make is not None and content is not None and rows is not None:
                content["example"] = make(model, rows)
    return filled


def _row_of_zeros(signature: Signature) -> dict[str, Tensor] | None:
    """A tensor of zeros for each input, one wherever a size is free; None when that is too much, or not for JSON."""
    shapes = {spec.name: tuple(1 if size == -1 else size for size in spec.shape) for spec in signature.inputs}
    if sum(int(np.prod(shape)) for shape in shapes.values()) > _MOST_ELEMENTS:
        return None
    if any(spec.dtype == BFLOAT16 for spec in signature.inputs):
        return None
    return {spec.name: spec.zeros(shapes[spec.name]) for spec in signature.inputs}


def _oip_body(model: ModelRoute, rows: Mapping[str, Tensor]) -> Any:
    specs: dict[str, TensorSpec] = {spec.name: spec for spec in model.versions[model.live].signature.inputs}
    tensors = [
        {"name": name, "datatype": specs[name].datatype, "shape": list(row.shape), "data": _plain(row.reshape(-1))}
        for name, row in rows.items()
    ]
    return {"id": "an-example", "inputs": tensors}


def _columns(_: ModelRoute, rows: Mapping[str, Tensor]) -> Any:
    return {"inputs": {name: _plain(row) for name, row in rows.items()}}


def _named_lists(_: ModelRoute, rows: Mapping[str, Tensor]) -> Any:
    return {name: _plain(row) for name, row in rows.items()}


def _plain(row: Tensor) -> Any:
    """Nested lists; BYTES of no length are strings of none."""
    return row.tolist() if row.dtype != BYTES else np.full(row.shape, "", BYTES).tolist()


def _load_order(model: ModelRoute, _: Mapping[str, Tensor]) -> Any:
    return {"parameters": {"version": model.live}}


def _index_order(_: ModelRoute, __: Mapping[str, Tensor]) -> Any:
    return {"ready": True}


# By how a path ends; the first that fits counts.
_BODIES: Mapping[str, MakeBody] = {
    "/infer": _oip_body,
    ":predict": _columns,
    "/predictions/{model}": _named_lists,
    "/predictions/{model}/{version}": _named_lists,
    "/repository/index": _index_order,
    "/load": _load_order,
}
