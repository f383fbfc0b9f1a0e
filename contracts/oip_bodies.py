"""Inference bodies of the Open Inference Protocol with the binary tensor extension, from the client's side."""

import json
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts import byte_strings
from contracts.bfloat16 import BFLOAT16, adopt, widen

Array = NDArray[Any]

HEADER_LENGTH = "Inference-Header-Content-Length"

_DTYPES: dict[str, Any] = {
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
    "BF16": BFLOAT16,
    "BYTES": byte_strings.BYTES,
}
_DATATYPES = {np.dtype(dtype): datatype for datatype, dtype in _DTYPES.items()}


class BadAnswer(ValueError):
    """A body that answers 200 is no inference answer; the message says why."""


def encode_request(
    inputs: Mapping[str, Array], outputs: Sequence[str] = (), parameters: Mapping[str, Any] | None = None
) -> tuple[bytes, dict[str, str]]:
    """A request of these tensors as raw bytes, and its headers; the answer is asked for as raw bytes too.

    `outputs` () is all of them; `parameters` are the request's own. Text is sent as BYTES in UTF-8, byte strings are
    sent as BYTES, too; BF16 are arrays of contracts.bfloat16 or of ml_dtypes. Raises ValueError for a dtype that has no
    name, and for objects that are neither text nor bytes.
    """
    inputs = {name: adopt(byte_strings.from_text(tensor)) for name, tensor in inputs.items()}
    strange = [f"{name!r} is {tensor.dtype}" for name, tensor in inputs.items() if tensor.dtype not in _DATATYPES]
    if strange:
        raise ValueError(f"expected tensors of {', '.join(_DTYPES)}; {', '.join(strange)}")
    chunks = {name: _raw(tensor) for name, tensor in inputs.items()}
    described = [
        {
            "name": name,
            "datatype": _DATATYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "parameters": {"binary_data_size": len(chunks[name])},
        }
        for name, tensor in inputs.items()
    ]
    document: dict[str, Any] = {"inputs": described, "parameters": {"binary_data_output": True, **(parameters or {})}}
    if outputs:
        document["outputs"] = [{"name": name} for name in outputs]
    header = json.dumps(document).encode()
    body = b"".join((header, *chunks.values()))
    return body, {HEADER_LENGTH: str(len(header)), "Content-Type": "application/octet-stream"}


def decode_answer(content: bytes, header_length: str | None) -> dict[str, Array]:
    """The outputs of an answer, by name. `header_length`: its header of that name. Raises BadAnswer.

    BYTES are arrays of objects, every one a `bytes`; BF16 are widened to float32, which holds each exactly.
    """
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
    if datatype == "BYTES":
        return byte_strings.array_of(byte_strings.decode(data, prod(shape)), shape)
    dtype = np.dtype(_DTYPES[datatype])
    if len(data) != prod(shape) * dtype.itemsize:
        raise ValueError(f"{datatype}{shape} has {len(data)} bytes")
    tensor = np.frombuffer(data, dtype).reshape(shape)
    return widen(tensor) if datatype == "BF16" else tensor


def _raw(tensor: Array) -> bytes:
    return byte_strings.encode(tensor) if tensor.dtype == byte_strings.BYTES else tensor.tobytes()
