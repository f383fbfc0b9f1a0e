"""TensorProto to array and back.

Decoding takes `tensor_content` or typed values; encoding gives typed values, which is what clients of the original
read, unless it is told otherwise. Facts: tensorflow/core/framework/tensor.cc (FromProto: too few values are padded with
the last one).
"""

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from workers.tf.embedded.faults import Code, Fault, invalid

Array = np.ndarray[Any, Any]

MAX_PADDED_BYTES = 64 * 1024 * 1024
"""How large a tensor may grow by padding: a few bytes on the wire can claim a shape of terabytes."""

_MAX_RANK = 64  # numpy's; TensorFlow's is 254
_LENGTH_DELIMITED = 2


class Encoding(Enum):
    """How values stand in an answer: in the typed field of their dtype, or as the bytes of `tensor_content`."""

    FIELDS = "fields"
    CONTENT = "content"


@dataclass(frozen=True)
class _Kind:
    """How one dtype travels: in which field, and as elements of which other dtype its bytes are read there."""

    field: str
    dtype: np.dtype[Any]
    wire: np.dtype[Any]

    @property
    def is_fixed_width(self) -> bool:
        return self.field in ("float_val", "double_val", "scomplex_val", "dcomplex_val")

    @property
    def values_per_element(self) -> int:
        return 2 if self.dtype.kind == "c" else 1


def _kind(field: str, dtype: Any, wire: Any = None) -> _Kind:
    return _Kind(field, np.dtype(dtype), np.dtype(dtype if wire is None else wire))


_KINDS: dict[int, _Kind] = {
    types_pb2.DT_FLOAT: _kind("float_val", np.float32),
    types_pb2.DT_DOUBLE: _kind("double_val", np.float64),
    types_pb2.DT_INT8: _kind("int_val", np.int8),
    types_pb2.DT_INT16: _kind("int_val", np.int16),
    types_pb2.DT_INT32: _kind("int_val", np.int32),
    types_pb2.DT_INT64: _kind("int64_val", np.int64),
    types_pb2.DT_UINT8: _kind("int_val", np.uint8),
    types_pb2.DT_UINT16: _kind("int_val", np.uint16),
    types_pb2.DT_UINT32: _kind("uint32_val", np.uint32),
    types_pb2.DT_UINT64: _kind("uint64_val", np.uint64),
    types_pb2.DT_BOOL: _kind("bool_val", np.bool_),
    types_pb2.DT_STRING: _kind("string_val", np.object_),
    types_pb2.DT_COMPLEX64: _kind("scomplex_val", np.complex64, np.float32),
    types_pb2.DT_COMPLEX128: _kind("dcomplex_val", np.complex128, np.float64),
    # Half floats travel as their bits.
    types_pb2.DT_HALF: _kind("half_val", np.float16, np.uint16),
    types_pb2.DT_BFLOAT16: _kind("half_val", tf.bfloat16.as_numpy_dtype, np.uint16),
}
_TYPES = {kind.dtype: number for number, kind in _KINDS.items()}


def decode_tensor(alias: str, proto: Any) -> Array:
    """The array in a TensorProto; strings as an object array of bytes. Read-only when it shares the message's memory.

    Raises Fault(INVALID_ARGUMENT) `tensor parsing error: <alias>` for an unsupported dtype, an unknown or negative
    dimension, content of another length than the shape asks for, and padding beyond MAX_PADDED_BYTES.
    """
    kind = _KINDS.get(proto.dtype)
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if kind is None or proto.tensor_shape.unknown_rank or len(shape) > _MAX_RANK or min(shape, default=0) < 0:
        raise _unparsable(alias)
    count = math.prod(shape)
    if proto.tensor_content:
        if kind.dtype.hasobject or len(proto.tensor_content) != count * kind.dtype.itemsize:
            raise _unparsable(alias)
        return np.frombuffer(proto.tensor_content, kind.dtype).reshape(shape)
    values = getattr(proto, kind.field)
    last_size = len(values[-1]) if kind.dtype.hasobject and values else 0
    if count > len(values) and count * (kind.dtype.itemsize + last_size) > MAX_PADDED_BYTES:
        raise _unparsable(alias)
    if kind.dtype.hasobject:
        return _decode_strings(values, count).reshape(shape)
    return _decode_values(kind, values, count).reshape(shape)


def type_of(array: Array) -> int | None:
    """The DataType of an array, None when it has none here (quantised types)."""
    return _TYPES.get(array.dtype)


def dtype_name(dtype: int) -> str:
    """TensorFlow's word for a DataType: float, int32, string…"""
    return str(types_pb2.DataType.Name(dtype)).removeprefix("DT_").lower()


def encode_tensor(array: Array, encoding: Encoding = Encoding.FIELDS) -> Any:
    """A TensorProto with the array's values; strings are always in their field.

    Raises Fault(UNIMPLEMENTED) for a dtype that has none (quantised types).
    """
    number = type_of(array)
    if number is None:
        raise Fault(Code.UNIMPLEMENTED, f"An output of dtype {array.dtype} cannot be put into a response")
    kind = _KINDS[number]
    proto: Any = tensor_pb2.TensorProto(dtype=number)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if encoding is Encoding.CONTENT and not kind.dtype.hasobject:
        proto.tensor_content = array.tobytes()
    elif kind.is_fixed_width:
        _merge_packed(proto, kind.field, array.tobytes())
    else:
        getattr(proto, kind.field).extend(array.view(kind.wire).ravel().tolist())
    return proto


def _decode_values(kind: _Kind, values: Any, count: int) -> Array:
    given = min(len(values), count * kind.values_per_element)
    # Fields shared by narrower dtypes hold int32; what does not fit wraps, as in a C cast.
    held = np.dtype(np.int32) if kind.field in ("int_val", "half_val") else kind.wire
    array: Array = np.fromiter(values, held, count=given).astype(kind.wire, copy=False).view(kind.dtype)
    if len(array) == count:
        return array
    padded = np.full(count, array[-1] if len(array) else 0, kind.dtype)
    padded[: len(array)] = array
    return padded


def _decode_strings(values: Any, count: int) -> Array:
    array = np.empty(count, np.object_)
    array[:] = values[-1] if values else b""
    array[: len(values)] = values[:count]
    return array


def _merge_packed(proto: Any, field: str, data: bytes) -> None:
    """Append fixed-width values to a packed field by their wire form, which is the little-endian array itself.

    Ten times as fast as handing protobuf one Python float an element.
    """
    tag = proto.DESCRIPTOR.fields_by_name[field].number << 3 | _LENGTH_DELIMITED
    proto.MergeFromString(_varint(tag) + _varint(len(data)) + data)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _unparsable(alias: str) -> Fault:
    return invalid(f"tensor parsing error: {alias}")
