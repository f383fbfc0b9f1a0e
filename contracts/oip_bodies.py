"""Inference bodies of the Open Inference Protocol with the binary tensor extension, from the client's side."""

import json
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

HEADER_LENGTH = "Inference-Header-Content-Length"

_DTYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_DATATYPES = {np.dtype(dtype): datatype for datatype, dtype in _DTYPES.items()}


class BadAnswer(ValueError):
    """A body that answers 200 is no inference answer; the message says why."""


def encode_request(
    inputs: Mapping[str, Array], outputs: Sequence[str] = (), parameters: Mapping[str, Any] | None = None
) -> tuple[bytes, dict[str, str]]:
    """A request of these tensors as raw bytes, and its headers; the answer is asked for as raw bytes too.

    `outputs` () is all of them; `parameters` are the request's own. Raises ValueError for a dtype that has no name.
    """
    strange = [f"{name!r} is {tensor.dtype}" for name, tensor in inputs.items() if tensor.dtype not in _DATATYPES]
    if strange:
        raise ValueError(f"expected tensors of {', '.join(_DTYPES)}; {', '.join(strange)}")
    described = [
        {
            "name": name,
            "datatype": _DATATYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "parameters": {"binary_data_size": tensor.nbytes},
        }
        for name, tensor in inputs.items()
    ]
    document: dict[str, Any] = {"inputs": described, "parameters": {"binary_data_output": True, **(parameters or {})}}
    if outputs:
        document["outputs"] = [{"name": name} for name in outputs]
    header = json.dumps(document).encode()
    body = b"".join((header, *(tensor.tobytes() for tensor in inputs.values())))
    return body, {HEADER_LENGTH: str(len(header)), "Content-Type": "application/octet-stream"}


def decode_answer(content: bytes, header_length: str | None) -> dict[str, Array]:
    """The outputs of an answer, by name. `header_length`: its header of that name. Raises BadAnswer."""
    if header_length is None or not header_length.isdecimal():
        raise BadAnswer(f"expected header {HEADER_LENGTH}, got {header_length!r}")
    end = int(header_length)
    try:
        outputs = {}
        for item in json.loads(content[:end])["outputs"]:
            size = item["parameters"]["binary_data_size"]
            outputs[item["name"]] = _tensor(item["datatype"], item["shape"], content[end : end + size])
            end += size
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswer(f"malformed answer: {type(error).__name__}: {error}") from error
    if end != len(content):
        raise BadAnswer(f"expected {end} bytes, got {len(content)}")
    return outputs


def _tensor(datatype: str, shape: list[int], data: bytes) -> Array:
    dtype = np.dtype(_DTYPES[datatype])
    if len(data) != prod(shape) * dtype.itemsize:
        raise ValueError(f"{datatype}{shape} has {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape)
