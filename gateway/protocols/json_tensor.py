"""Tensor data in JSON: a flat list of elements in row-major order, or lists nested as deep as the shape.

Types are exact: no booleans or strings among numbers, no fractions among integers, nothing out of range.
"""

from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from gateway.core.errors import InvalidRequest
from gateway.core.tensors import DTYPES, Tensor, count_elements

_SCANNED_BYTES = 1024  # nobody's first element lies deeper than this
_LONGEST_ELEMENT_BYTES = 256  # a number, its comma, and generous indentation
_WHITESPACE = b" \t\r\n"
_ELEMENT_TYPES: dict[str, type] = {"b": bool, "i": int, "u": int, "f": float}


def decode_data(name: str, data: bytes, datatype: str, shape: tuple[int, ...]) -> Tensor:
    """Decode the JSON text of `data` into a tensor of `datatype` and `shape`; `name` is for the message.

    Raises InvalidRequest.
    """
    if not data:
        raise InvalidRequest(f"input {name!r} has no data: expected {count_elements(shape)} elements of {datatype}")
    if len(data) > count_elements(shape) * _LONGEST_ELEMENT_BYTES + _SCANNED_BYTES:
        raise InvalidRequest(
            f"input {name!r}: expected {count_elements(shape)} elements, got {len(data)} bytes of them"
        )
    depth = _count_brackets(data)
    if depth != 1 and depth != len(shape):
        raise InvalidRequest(
            f"input {name!r}: expected a flat list, or one nested {len(shape)} deep for shape {list(shape)}, "
            f"got one nested {depth} deep"
        )
    dtype = DTYPES[datatype]
    try:
        values = _decoder(dtype.kind, depth).decode(data)
        with np.errstate(over="raise"):
            tensor = np.array(values, dtype)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"input {name!r}: {error}") from error
    except (OverflowError, FloatingPointError) as error:
        raise InvalidRequest(f"input {name!r}: a number is out of range for {datatype}") from error
    except ValueError as error:
        raise InvalidRequest(f"input {name!r}: expected rows of equal length, got a ragged list") from error
    return _shaped(name, tensor, shape)


def _shaped(name: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tensor.size != count_elements(shape):
        raise InvalidRequest(
            f"input {name!r}: expected {count_elements(shape)} elements for shape {list(shape)}, got {tensor.size}"
        )
    if tensor.ndim == 1 or tensor.shape == shape:
        return tensor.reshape(shape)
    raise InvalidRequest(
        f"input {name!r}: expected data nested as its shape {list(shape)} says, got {list(tensor.shape)}"
    )


def _count_brackets(data: bytes) -> int:
    """How deep the first element lies, which for a regular list is how deep every element does."""
    depth = 0
    for byte in data[:_SCANNED_BYTES]:
        if byte == ord("["):
            depth += 1
        elif byte not in _WHITESPACE:
            break
    return depth


@lru_cache(maxsize=128)
def _decoder(kind: str, depth: int) -> msgspec.json.Decoder[Any]:
    nested: Any = _ELEMENT_TYPES[kind]
    for _ in range(depth):
        nested = list[nested]
    return msgspec.json.Decoder(nested)
