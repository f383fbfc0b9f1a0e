"""Our minimal protos against the official packages: every name, number, type and label must be theirs."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from contracts.bfloat16 import narrow, widen
from contracts.byte_strings import array_of
from contracts.descriptors import DESCRIPTOR_SET, load_pool
from contracts.tfserving import DATATYPE_NUMBERS, load_messages
from gateway.core.tensors import DTYPES
from gateway.engines.tfserving import decode_tensor, encode_tensor

pytestmark = pytest.mark.engines  # imports tensorflow, which takes seconds


def official(name: str) -> Descriptor:
    from tensorflow.core.framework import tensor_pb2
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_management_pb2,
        predict_pb2,
    )

    modules: tuple[Any, ...] = (predict_pb2, get_model_metadata_pb2, get_model_status_pb2, model_management_pb2)
    modules += (tensor_pb2, saved_model_pb2)
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


def compare(ours: Descriptor, theirs: Descriptor) -> int:
    """Hold every field of ours, and every value of its enum, against theirs; returns how many fields there were."""
    fields, official_fields = by_name(ours), by_name(theirs)
    for full_name, field in fields.items():
        assert full_name in official_fields, f"{full_name} is not official"
        other = official_fields[full_name]
        same_type = field.type == other.type or (field.type == field.TYPE_INT32 and other.type == field.TYPE_ENUM)
        assert (field.number, same_type, field.is_repeated) == (other.number, True, other.is_repeated), full_name
        if field.enum_type is not None:
            assert other.enum_type is not None, full_name
            known = {value.name: value.number for value in other.enum_type.values}
            for value in field.enum_type.values:
                assert known.get(value.name) == value.number, f"{full_name}: {value.name}"
    return len(fields)


def test_every_field_is_the_official_one() -> None:
    compared = sum(compare(message.DESCRIPTOR, official(name)) for name, message in vars(load_messages()).items())
    assert compared > 80


def test_every_call_and_field_is_tritons() -> None:
    from tritonclient.grpc import service_pb2

    ours = load_pool().FindServiceByName("inference.GRPCInferenceService")
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    compared = 0
    for call in ours.methods:
        other = theirs[call.name]
        assert (call.client_streaming, call.server_streaming) == (other.client_streaming, other.server_streaming)
        for mine, yours in ((call.input_type, other.input_type), (call.output_type, other.output_type)):
            assert mine.full_name == yours.full_name
            compared += compare(mine, yours)
    assert compared > 100


def test_every_call_is_tensorflow_servings() -> None:
    from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2

    pool = load_pool()
    services: tuple[Any, ...] = (
        prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"],
        model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
    )
    for theirs in services:
        for call in pool.FindServiceByName(theirs.full_name).methods:
            other = theirs.methods_by_name[call.name]
            assert call.input_type.full_name == other.input_type.full_name
            assert call.output_type.full_name == other.output_type.full_name


def test_datatype_numbers_are_tensorflows() -> None:
    import tensorflow as tf

    for datatype, number in DATATYPE_NUMBERS.items():
        theirs = np.dtype(tf.dtypes.as_dtype(number).as_numpy_dtype)
        assert (theirs == DTYPES[datatype]) or (datatype == "BF16" and theirs.name == "bfloat16")
    assert DATATYPE_NUMBERS.keys() == DTYPES.keys()


@pytest.mark.parametrize("datatype", sorted(DTYPES.keys() - {"BYTES", "BF16"}))
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


def test_strings_cross_in_both_directions() -> None:
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    for elements in ([b"", b"\0\xff", b"a" * 300, b"\xc3\xa9"], [b"one"]):
        array = array_of(elements, (1, len(elements)))
        ours = load_messages().TensorProto()
        encode_tensor(ours, array)
        read = tf.make_ndarray(tensor_pb2.TensorProto.FromString(ours.SerializeToString()))
        assert read.tolist() == array.tolist()
        theirs = load_messages().TensorProto.FromString(tf.make_tensor_proto(array).SerializeToString())
        assert decode_tensor(theirs).tolist() == array.tolist()


@pytest.mark.parametrize("size", [1, 6])
def test_bfloat16_crosses_in_both_directions(size: int) -> None:
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    array = narrow(np.arange(size).reshape(1, size) / 7)
    ours = load_messages().TensorProto()
    encode_tensor(ours, array)
    read = tf.make_ndarray(tensor_pb2.TensorProto.FromString(ours.SerializeToString()))
    np.testing.assert_array_equal(read.astype(np.float32), widen(array))
    in_field = tensor_pb2.TensorProto(dtype=ours.dtype, half_val=array.view("<u2").ravel().tolist())
    in_field.tensor_shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    for theirs in (tf.make_tensor_proto(read), in_field):
        back = decode_tensor(load_messages().TensorProto.FromString(theirs.SerializeToString()))
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

    data = (resources.files("contracts.protos") / DESCRIPTOR_SET).read_bytes()
    files = {file.name for file in descriptor_pb2.FileDescriptorSet.FromString(data).file}
    assert files == {
        "google/protobuf/any.proto",
        "google/protobuf/wrappers.proto",
        "inference.proto",
        "model_config.proto",
        "serving.proto",
        "tensor.proto",
    }
