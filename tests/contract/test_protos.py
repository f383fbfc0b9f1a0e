"""Our minimal protos against the official package: every name, number, type and label must be TensorFlow Serving's."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from contracts.tfserving import DATATYPE_NUMBERS, load_messages
from gateway.core.tensors import DTYPES
from gateway.engines.tfserving import decode_tensor, encode_tensor

pytestmark = pytest.mark.engines  # imports tensorflow, which takes seconds


def official(name: str) -> Descriptor:
    from tensorflow.core.framework import tensor_pb2
    from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, predict_pb2

    modules = (predict_pb2, get_model_status_pb2, model_management_pb2, tensor_pb2)
    descriptor: Descriptor = next(getattr(m, name) for m in modules if hasattr(m, name)).DESCRIPTOR
    return descriptor


def fields_of(descriptor: Descriptor, seen: set[str]) -> Iterator[FieldDescriptor]:
    if descriptor.full_name in seen or descriptor.file.package == "google.protobuf":
        return
    seen.add(descriptor.full_name)
    for field in descriptor.fields:
        yield field
        if field.message_type is not None:
            yield from fields_of(field.message_type, seen)


def by_name(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    return {field.full_name: field for field in fields_of(descriptor, set())}


def test_every_field_is_the_official_one() -> None:
    compared = 0
    for name, message in vars(load_messages()).items():
        ours, theirs = by_name(message.DESCRIPTOR), by_name(official(name))
        for full_name, field in ours.items():
            assert full_name in theirs, f"{full_name} is not TensorFlow Serving's"
            other = theirs[full_name]
            same_type = field.type == other.type or (field.type == field.TYPE_INT32 and other.type == field.TYPE_ENUM)
            assert (field.number, same_type, field.is_repeated) == (other.number, True, other.is_repeated), full_name
            compared += 1
    assert compared > 50


def test_datatype_numbers_are_tensorflows() -> None:
    import tensorflow as tf

    for datatype, number in DATATYPE_NUMBERS.items():
        assert np.dtype(tf.dtypes.as_dtype(number).as_numpy_dtype) == DTYPES[datatype]
    assert DATATYPE_NUMBERS.keys() == DTYPES.keys()


@pytest.mark.parametrize("datatype", sorted(DTYPES))
@pytest.mark.parametrize("size", [1, 6])
def test_tensors_cross_in_both_directions(datatype: str, size: int) -> None:
    """What we encode, TensorFlow reads; what it writes, typed values included, we read."""
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    array = np.arange(size).reshape(1, size).astype(DTYPES[datatype])
    ours = load_messages().TensorProto()
    encode_tensor(ours, array)
    np.testing.assert_array_equal(tf.make_ndarray(tensor_pb2.TensorProto.FromString(ours.SerializeToString())), array)

    for theirs in (tf.make_tensor_proto(array), typed(array)):
        back = decode_tensor(load_messages().TensorProto.FromString(theirs.SerializeToString()))
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)


def typed(array: np.ndarray[Any, Any]) -> Any:
    """A TensorProto with values in the typed field, as TensorFlow Serving answers."""
    import tensorflow as tf

    proto = tf.make_tensor_proto(array)
    content = tf.make_ndarray(proto).ravel()
    proto.ClearField("tensor_content")
    field = next(f for f in TYPED_FIELDS if array.dtype in TYPED_FIELDS[f])
    values = content.view(np.uint16) if array.dtype == np.float16 else content
    proto.ClearField(field)
    getattr(proto, field).extend(values.tolist())
    return proto


TYPED_FIELDS: dict[str, list[Any]] = {
    "float_val": [np.float32],
    "double_val": [np.float64],
    "half_val": [np.float16],
    "int_val": [np.int8, np.int16, np.int32, np.uint8, np.uint16],
    "int64_val": [np.int64],
    "uint32_val": [np.uint32],
    "uint64_val": [np.uint64],
    "bool_val": [np.bool_],
}


def test_the_descriptor_set_holds_only_what_we_need() -> None:
    from importlib import resources

    data = (resources.files("contracts.protos") / "tensorflow_serving.binpb").read_bytes()
    files = [file.name for file in descriptor_pb2.FileDescriptorSet.FromString(data).file]
    assert sorted(files) == ["google/protobuf/wrappers.proto", "serving.proto", "tensor.proto"]
