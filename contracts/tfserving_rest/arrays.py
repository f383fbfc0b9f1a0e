"""Nested JSON lists to arrays, by the dtype the signature asks for: TensorFlow's word for it (float, int32, string…).

A quick pass takes what is well formed, a level at a time; only when it fails does a slow one look for the first
offender, in the order of the text, and say what the original says of it (tensorflow_serving/util/json_tensor.cc).
"""

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from contracts.tfserving_rest.grammar import encode_text
from contracts.tfserving_rest.refusals import Kind, Refusal, invalid
from contracts.tfserving_rest.values import complaint, decode_base64, describe, is_base64, type_name

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

_MAX_RANK = 64  # numpy's


@dataclass(frozen=True)
class _Element:
    """Which JSON values a dtype takes: of `types`, and as far as they are integers, from `low` to `high`."""

    dtype: np.dtype[Any]
    types: frozenset[type]
    low: int = -(2**63)
    high: int = 2**64 - 1


def _integers(dtype: Any, limits: Any) -> _Element:
    info = np.iinfo(limits)
    return _Element(np.dtype(dtype), frozenset({int}), int(info.min), int(info.max))


_NUMBERS: frozenset[type] = frozenset({int, float})
_ELEMENTS: dict[str, _Element] = {
    "float": _Element(np.dtype(np.float32), _NUMBERS),
    "double": _Element(np.dtype(np.float64), _NUMBERS),
    # The narrow ones are read as int32 and wrap.
    "int8": _integers(np.int8, np.int32),
    "int16": _integers(np.int16, np.int32),
    "int32": _integers(np.int32, np.int32),
    "uint8": _integers(np.uint8, np.int32),
    "int64": _integers(np.int64, np.int64),
    "uint32": _integers(np.uint32, np.uint32),
    "uint64": _integers(np.uint64, np.uint64),
    "bool": _Element(np.dtype(np.bool_), frozenset({bool})),
    "string": _Element(np.dtype(np.object_), frozenset({str, dict})),
}


def decode_array(value: Any, dtype: str) -> Array:
    """One tensor; a value that is no list is a scalar. Raises Refusal."""
    shape = shape_of(value)
    leaves = _leaves(value, shape)
    if leaves is None or not _are_of(leaves, dtype):
        check_elements(value, shape, dtype)
    return _array(leaves or [], shape, dtype)


def decode_rows(rows: list[Any], dtype: str) -> Array | None:
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


def check_elements(value: Any, shape: Shape, dtype: str) -> int:
    """How many elements there are. Raises Refusal for the first that breaks the shape or is not of the dtype."""
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


def _check_element(item: Any, dtype: str) -> None:
    if dtype == "string" and isinstance(item, dict):
        decode_base64(item)
        return
    element = _ELEMENTS.get(dtype)
    if isinstance(item, dict) or (element is not None and not _are_of([item], dtype)):
        raise complaint(item, f"Type: {type_name(item)} is not of expected type: {dtype}")
    if element is None:
        raise Refusal(Kind.UNIMPLEMENTED, f"Conversion of JSON Value: {describe(item)} to type: {dtype}")


def _leaves(value: Any, shape: Shape) -> list[Any] | None:
    level = [value]
    for size in shape:
        if any(type(item) is not list or len(item) != size for item in level):
            return None
        level = list(chain.from_iterable(level))
    return None if list in set(map(type, level)) else level


def _are_of(leaves: list[Any], dtype: str) -> bool:
    element = _ELEMENTS.get(dtype)
    if element is None:
        return not leaves
    found = set(map(type, leaves))
    if not found <= element.types:
        return False
    if found == {int} and element.types != _NUMBERS:
        return bool(element.low <= min(leaves) and max(leaves) <= element.high)
    return dict not in found or all(is_base64(leaf) for leaf in leaves if type(leaf) is dict)


def _array(leaves: list[Any], shape: Shape, dtype: str) -> Array:
    if len(shape) > _MAX_RANK:
        raise invalid(f"A list of {len(shape)} levels is no tensor: at most {_MAX_RANK} are")
    element = _ELEMENTS.get(dtype)
    if element is None:
        raise Refusal(Kind.UNIMPLEMENTED, f"An empty tensor of type {dtype} cannot be made from JSON")
    array: Array
    if element.dtype.hasobject:
        array = np.empty(len(leaves), np.object_)
        array[:] = [encode_text(leaf) if isinstance(leaf, str) else decode_base64(leaf) for leaf in leaves]
    elif element.types == _NUMBERS:
        with np.errstate(over="ignore"):
            array = np.array(leaves, np.float64).astype(element.dtype)
    else:
        # By way of the type the range was checked for, which then wraps.
        held = np.uint64 if element.high > 2**63 else element.dtype if element.dtype.itemsize > 2 else np.int64
        array = np.array(leaves, held).astype(element.dtype)
    return array.reshape(shape)
