"""Repeated numbers of a message as numpy arrays, by their wire form.

A packed field of floats, doubles or bools is a tag, a length and the little-endian array itself (protobuf.dev,
"Encoding": packed repeated fields). Reading and writing that is fifty times as fast as one Python number an element;
integers are of varying length there and go one by one.
"""

from typing import Any

import numpy as np

from gateway.core.tensors import Tensor

_LENGTH_DELIMITED = 2
_FEW = 512  # protobuf appends one number after the other; more are copied whole, which costs more to begin with
_IS_WIRE_FORM = "fb"  # numpy's kinds whose elements stand in a message as they do in memory


def read_packed(message: Any, name: str, dtype: np.dtype[Any]) -> Tensor:
    """The numbers in the field `name`, as a flat array.

    Raises OverflowError when one does not fit `dtype`.
    """
    values = getattr(message, name)
    if dtype.kind in _IS_WIRE_FORM:
        size = len(values) * dtype.itemsize
        wire = _alone(message, name).SerializeToString()
        return np.frombuffer(wire, dtype, offset=len(wire) - size) if size else np.empty(0, dtype)
    array = np.fromiter(values, np.uint64 if dtype.kind == "u" else np.int64, count=len(values))
    limits = np.iinfo(dtype)
    if len(array) and not (limits.min <= int(array.min()) and int(array.max()) <= limits.max):
        raise OverflowError
    return array.astype(dtype, copy=False)


def _alone(message: Any, name: str) -> Any:
    """A message of the same kind with this field and no other."""
    alone = type(message)()
    values = getattr(message, name)
    if len(values) <= _FEW:
        getattr(alone, name).MergeFrom(values)
        return alone
    alone.CopyFrom(message)
    for field, _ in alone.ListFields():
        if field.name != name:
            alone.ClearField(field.name)
    alone.DiscardUnknownFields()
    return alone


def write_packed(message: Any, name: str, tensor: Tensor) -> None:
    """Append the elements of a tensor, in row-major order, to the field `name`."""
    if tensor.dtype.kind not in _IS_WIRE_FORM:
        getattr(message, name).extend(tensor.ravel().tolist())
    elif tensor.size:
        tag = message.DESCRIPTOR.fields_by_name[name].number << 3 | _LENGTH_DELIMITED
        message.MergeFromString(_varint(tag) + _varint(tensor.nbytes) + tensor.tobytes())


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
