"""tensorflow.TensorProto from clients and back to them.

Read are `tensor_content` and typed values, where too few are padded with the last one (tensorflow/core/framework/
tensor.cc, FromProto); written are typed values, which is what TensorFlow Serving's clients look for.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from contracts.byte_strings import array_of
from contracts.tfserving import DATATYPE_NUMBERS, VALUE_FIELDS
from gateway.core.errors import InvalidRequest
from gateway.core.tensors import BYTES, DATATYPES, DTYPES, Tensor, check_strings, count_elements
from gateway.protocols.raw_tensor import MAX_RANK
from gateway.protocols.rpc.packed import read_packed, write_packed
from gateway.protocols.tfserving_rules import TYPE_NAMES

MOST_PADDED_BYTES = 64 * 1024 * 1024
"""How large a tensor may grow by padding: a few bytes on the wire can claim a shape of terabytes."""

_DATATYPES = {number: datatype for datatype, number in DATATYPE_NUMBERS.items()}
_FOREIGN = {8: "complex64", 18: "complex128"}
# Fields shared by narrower types hold int32.
_HELD = {"int_val": np.dtype(np.int32), "half_val": np.dtype(np.int32)}
_BITS = "half_val"  # holds the bits of FP16 and BF16


def read_shape(alias: str, proto: Any) -> tuple[int, ...]:
    """The shape of a TensorProto. Raises InvalidRequest when it is none, or too large to be padded to."""
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or len(shape) > MAX_RANK or min(shape, default=0) < 0:
        raise _unparsable(alias)
    return shape


def read_type(alias: str, proto: Any) -> str:
    """TensorFlow's word for the type of a TensorProto. Raises InvalidRequest for one that TensorFlow cannot parse."""
    datatype = _DATATYPES.get(proto.dtype)
    name = _FOREIGN.get(proto.dtype) if datatype is None else TYPE_NAMES[datatype]
    if name is None:
        raise _unparsable(alias)
    return name


def decode_tensor(alias: str, proto: Any) -> Tensor:
    """The array in a TensorProto of a type that twinserve carries.

    Raises InvalidRequest for content of another length than the shape asks for, and for padding without end.
    """
    shape, datatype = read_shape(alias, proto), _DATATYPES[proto.dtype]
    dtype, count = DTYPES[datatype], count_elements(shape)
    if proto.tensor_content:
        if dtype == BYTES or len(proto.tensor_content) != count * dtype.itemsize:
            raise _unparsable(alias)
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    if dtype == BYTES:
        return _decode_strings(alias, proto.string_val, shape)
    field = VALUE_FIELDS[datatype]
    values = read_packed(proto, field, _HELD.get(field, dtype))[:count]
    if count > len(values) and count * dtype.itemsize > MOST_PADDED_BYTES:
        raise _unparsable(alias)
    if field == _BITS:
        values = values.astype(np.uint16).view(dtype)
    values = values.astype(dtype, copy=False)  # what does not fit wraps, as in a C cast
    if len(values) < count:
        last = values[-1] if len(values) else np.zeros((), dtype)
        values = np.concatenate((values, np.full(count - len(values), last, dtype)))
    return values.reshape(shape)


def encode_tensor(proto: Any, tensor: Tensor) -> None:
    """Fill a TensorProto with typed values."""
    datatype = DATATYPES[tensor.dtype]
    proto.dtype = DATATYPE_NUMBERS[datatype]
    proto.tensor_shape.SetInParent()
    for size in tensor.shape:
        proto.tensor_shape.dim.add().size = size
    field = VALUE_FIELDS[datatype]
    bits = np.ascontiguousarray(tensor).view(np.uint16) if field == _BITS else tensor
    write_packed(proto, field, bits)


def _decode_strings(alias: str, values: Sequence[bytes], shape: tuple[int, ...]) -> Tensor:
    """Strings, the last repeated where there are too few. Raises InvalidRequest for repeating it without end."""
    count = count_elements(shape)
    last = values[-1] if values else b""
    missing = max(0, count - len(values))
    if missing * (BYTES.itemsize + len(last)) > MOST_PADDED_BYTES:
        raise _unparsable(alias)
    check_strings(count)
    return array_of([*values[:count], *[last] * missing], shape)


def _unparsable(alias: str) -> InvalidRequest:
    return InvalidRequest(f"tensor parsing error: {alias}")
