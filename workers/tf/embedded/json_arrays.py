"""Nested JSON lists to arrays, by the dtype the signature asks for.

A quick pass takes what is well formed, a level at a time; only when it fails does a slow one look for the first
offender, in the order of the text, and say what the original says of it (tensorflow_serving/util/json_tensor.cc).
"""

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from tensorflow.core.framework import types_pb2

from workers.tf.embedded.faults import Code, Fault, invalid
from workers.tf.embedded.json_grammar import encode_text
from workers.tf.embedded.json_values import complaint, decode_base64, describe, is_base64, type_name

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

_MAX_RANK = 64  # numpy's


@dataclass(frozen=True)
class _Kind:
    """Which JSON values a dtype takes: of `types`, and as far as they are integers, from `low` to `high`."""

    dtype: np.dtype[Any]
    types: frozenset[type]
    low: int = -(2**63)
    high: int = 2**64 - 1


def _integers(dtype: Any, limits: Any) -> _Kind:
    info = np.iinfo(limits)
    return _Kind(np.dtype(dtype), frozenset({int}), int(info.min), int(info.max))


_NUMBERS: frozenset[type] = frozenset({int, float})
_KINDS: dict[int, _Kind] = {
    types_pb2.DT_FLOAT: _Kind(np.dtype(np.float32), _NUMBERS),
    types_pb2.DT_DOUBLE: _Kind(np.dtype(np.float64), _NUMBERS),
    # The narrow ones are read as int32 and wrap.
    types_pb2.DT_INT8: _integers(np.int8, np.int32),
    types_pb2.DT_INT16: _integers(np.int16, np.int32),
    types_pb2.DT_INT32: _integers(np.int32, np.int32),
    types_pb2.DT_UINT8: _integers(np.uint8, np.int32),
    types_pb2.DT_INT64: _integers(np.int64, np.int64),
    types_pb2.DT_UINT32: _integers(np.uint32, np.uint32),
    types_pb2.DT_UINT64: _integers(np.uint64, np.uint64),
    types_pb2.DT_BOOL: _Kind(np.dtype(np.bool_), frozenset({bool})),
    types_pb2.DT_STRING: _Kind(np.dtype(np.object_), frozenset({str, dict})),
}


def dtype_name(dtype: int) -> str:
    """TensorFlow's name of a DataType: float, int32, string…"""
    return str(types_pb2.DataType.Name(dtype)).removeprefix("DT_").lower()


def decode_array(value: Any, dtype: int) -> Array:
    """One tensor; a value that is no list is a scalar. Raises Fault."""
    shape = shape_of(value)
    leaves = _leaves(value, shape)
    if leaves is None or not _are_of(leaves, dtype):
        check_elements(value, shape, dtype)
    return _array(leaves or [], shape, dtype)


def decode_rows(rows: list[Any], dtype: int) -> Array | None:
    """Rows of equal shape as one tensor, or None when something is wrong with a row."""
    shape = (len(rows), *shape_of(rows[0]))
    leaves = _leaves(rows, shape)
    return _array(leaves, shape, dtype) if leaves is not None and _are_of(leaves, dtype) else None


def shape_of(value: Any) -> Shape:
    """The shape that the first element of each level makes."""
    sizes = []
    while isinstance(value, list):
        sizes.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(sizes)


def check_elements(value: Any, shape: Shape, dtype: int) -> int:
    """How many elements there are. Raises Fault for the first that breaks the shape or is not of the dtype."""
    count = 0
    rank = len(shape)
    todo = [(value, 0)]
    while todo:
        item, level = todo.pop()
        if not isinstance(item, list):
            if level != rank:
                raise complaint(
                    item, f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {rank}"
                )
            _check_element(item, dtype)
            count += 1
            continue
        if level >= rank:
            raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
        if len(item) != shape[level]:
            raise invalid(
                f"Encountered list at unexpected size: {len(item)} at level: {level} expected size: {shape[level]}"
            )
        todo.extend((child, level + 1) for child in reversed(item))
    return count


def _check_element(item: Any, dtype: int) -> None:
    if dtype == types_pb2.DT_STRING and isinstance(item, dict):
        decode_base64(item)
        return
    kind = _KINDS.get(dtype)
    if isinstance(item, dict) or (kind is not None and not _are_of([item], dtype)):
        raise complaint(item, f"Type: {type_name(item)} is not of expected type: {dtype_name(dtype)}")
    if kind is None:
        raise Fault(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {describe(item)} to type: {dtype_name(dtype)}")


def _leaves(value: Any, shape: Shape) -> list[Any] | None:
    level = [value]
    for size in shape:
        if any(type(item) is not list or len(item) != size for item in level):
            return None
        level = list(chain.from_iterable(level))
    return None if list in set(map(type, level)) else level


def _are_of(leaves: list[Any], dtype: int) -> bool:
    kind = _KINDS.get(dtype)
    if kind is None:
        return not leaves
    found = set(map(type, leaves))
    if not found <= kind.types:
        return False
    if found == {int} and kind.types != _NUMBERS:
        return bool(kind.low <= min(leaves) and max(leaves) <= kind.high)
    return dict not in found or all(is_base64(leaf) for leaf in leaves if type(leaf) is dict)


def _array(leaves: list[Any], shape: Shape, dtype: int) -> Array:
    if len(shape) > _MAX_RANK:
        raise invalid(f"A list of {len(shape)} levels is no tensor: at most {_MAX_RANK} are")
    kind = _KINDS.get(dtype)
    if kind is None:
        raise Fault(Code.UNIMPLEMENTED, f"An empty tensor of type {dtype_name(dtype)} cannot be made from JSON")
    array: Array
    if kind.dtype.hasobject:
        array = np.empty(len(leaves), np.object_)
        array[:] = [encode_text(leaf) if isinstance(leaf, str) else decode_base64(leaf) for leaf in leaves]
    elif kind.types == _NUMBERS:
        with np.errstate(over="ignore"):
            array = np.array(leaves, np.float64).astype(kind.dtype)
    else:
        # By way of the type the range was checked for, which then wraps.
        held = np.uint64 if kind.high > 2**63 else kind.dtype if kind.dtype.itemsize > 2 else np.int64
        array = np.array(leaves, held).astype(kind.dtype)
    return array.reshape(shape)
