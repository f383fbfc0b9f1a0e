"""Tensor data in JSON: a flat list of elements in row-major order, or lists nested as deep as the shape.

Types are exact: no booleans or strings among numbers, no fractions among integers, nothing out of range. BYTES are
strings, which JSON has in UTF-8 only; BF16 has no form in JSON (Triton has none either).
"""

from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from gateway.core.errors import InvalidRequest
from gateway.core.tensors import BFLOAT16, BYTES, DTYPES, Tensor, TensorSpec, count_elements

_SCANNED_BYTES = 1024  # nobody's first element lies deeper than this
_LONGEST_ELEMENT_BYTES = 256  # a number, its comma, and generous indentation
_WHITESPACE = b" \t\r\n"
_ELEMENT_TYPES: dict[str, type] = {"b": bool, "i": int, "u": int, "f": float, "O": str}


def decode_data(name: str, data: bytes, datatype: str, shape: tuple[int, ...]) -> Tensor:
    """Decode the JSON text of `data` into a tensor of `datatype` and `shape`; `name` is for the message.

    Raises InvalidRequest.
    """
    if not data:
        raise InvalidRequest(f"input {name!r} has no data: expected {count_elements(shape)} elements of {datatype}")
    _refuse_bfloat16("input", name, DTYPES[datatype])
    if datatype != "BYTES" and len(data) > count_elements(shape) * _LONGEST_ELEMENT_BYTES + _SCANNED_BYTES:
        raise InvalidRequest(
            f"input {name!r}: expected {count_elements(shape)} elements, got {len(data)} bytes of them"
        )
    depth = _count_brackets(data)
    if depth != 1 and depth != len(shape):
        raise InvalidRequest(
            f"input {name!r}: expected a flat list, or one nested {len(shape)} deep for shape {list(shape)}, "
            f"got one nested {depth} deep"
        )
    return _shaped(name, _decode(name, data, datatype, depth), shape)


def decode_nested(name: str, data: bytes, spec: TensorSpec) -> Tensor:
    """Decode JSON that tells its shape by its nesting, which must be as deep as the spec's. Raises InvalidRequest."""
    _refuse_bfloat16("input", name, spec.dtype)
    depth = _count_brackets(data)
    if depth != len(spec.shape):
        raise InvalidRequest(f"input {name!r}: expected lists nested {len(spec.shape)} deep, got {depth}")
    return _decode(name, data, spec.datatype, depth)


def encode_data(name: str, tensor: Tensor) -> Tensor | list[Any] | str:
    """A tensor as orjson writes it.

    Raises InvalidRequest: JSON has no NaN and no infinity (orjson would write null), no BF16, and no BYTES but UTF-8.
    """
    kind = tensor.dtype.kind
    if kind == "O":
        return _encode_strings(name, tensor)
    if kind == "V":
        _refuse_bfloat16("output", name, tensor.dtype)
    if kind == "f" and not np.isfinite(tensor).all():
        raise InvalidRequest(
            f"output {name!r} for these inputs is not finite, which JSON cannot carry: ask for binary data"
        )
    return np.ascontiguousarray(tensor)


def _decode(name: str, data: bytes, datatype: str, depth: int) -> Tensor:
    dtype = DTYPES[datatype]
    try:
        values = _decoder(dtype.kind, depth).decode(data)
        if dtype == BYTES:
            return _bytes_array(values, depth)
        with np.errstate(over="raise"):
            return np.array(values, dtype)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InvalidRequest(f"input {name!r}: {error}") from error
    except (OverflowError, FloatingPointError) as error:
        raise InvalidRequest(f"input {name!r}: a number is out of range for {datatype}") from error
    except ValueError as error:
        raise InvalidRequest(f"input {name!r}: expected rows of equal length, got a ragged list") from error


def _bytes_array(values: Any, depth: int) -> Tensor:
    """Strings nested `depth` deep. Raises ValueError when they are ragged: numpy would make objects of their lists."""
    texts = np.array(values, BYTES)
    if texts.ndim != depth:
        raise ValueError
    tensor = np.empty(texts.size, BYTES)
    tensor[:] = [text.encode() for text in texts.ravel().tolist()]
    return tensor.reshape(texts.shape)


def _encode_strings(name: str, tensor: Tensor) -> list[Any] | str:
    try:
        texts = [element.decode() for element in tensor.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"output {name!r} for these inputs is not UTF-8, which JSON cannot carry: ask for binary data"
        ) from error
    nested = np.empty(len(texts), BYTES)
    nested[:] = texts
    written: list[Any] | str = nested.reshape(tensor.shape).tolist()
    return written


def _refuse_bfloat16(side: str, name: str, dtype: np.dtype[Any]) -> None:
    if dtype == BFLOAT16:
        verb = "send" if side == "input" else "ask for"
        raise InvalidRequest(f"{side} {name!r}: JSON has no BF16: {verb} binary data")


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
