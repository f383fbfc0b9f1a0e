"""The codec of the Open Inference Protocol over gRPC, with tritonclient's own messages as the witness."""

from typing import Any

import numpy as np
import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.messages import InferAnswer
from gateway.core.tensors import BFLOAT16, BYTES, DATATYPES, DTYPES, Signature, Tensor, TensorSpec
from gateway.protocols.raw_tensor import encode_raw
from gateway.protocols.rpc.oip_messages import FIELDS, Asked, decode_request, fill_response
from tests.unit.gateway.rpc import INFERENCE


def signature(datatype: str) -> Signature:
    return Signature((TensorSpec("x", datatype, (-1, 3)),), (TensorSpec("y", datatype, (-1, 3)),))


def sample(datatype: str) -> Tensor:
    """Two rows that reach the ends of the datatype."""
    dtype = DTYPES[datatype]
    if dtype == np.bool_:
        return np.array([[True, False, True], [False, False, True]])
    if dtype == BYTES:
        return np.array([[b"", b"\0\xff", b"a" * 300], [b"1", b"", b"b"]], BYTES)
    if dtype == BFLOAT16:
        return np.array([0, 0x3F80, 0x7F80, 0x7FC0, 0x8000, 1], "<u2").view(BFLOAT16).reshape(2, 3)
    if dtype.kind == "f":
        return np.array([[0, -1.5, np.inf], [np.finfo(dtype).max, np.finfo(dtype).tiny, -0.0]], dtype)
    info = np.iinfo(dtype)
    return np.array([[info.min, info.max, 1], [2, 3, 4]], dtype)


def typed(datatype: str, tensor: Tensor, field: str | None = None) -> Any:
    request = INFERENCE.ModelInferRequest()
    item = request.inputs.add(name="x", datatype=datatype, shape=tensor.shape)
    getattr(item.contents, field or FIELDS[datatype]).extend(tensor.ravel().tolist())
    return request


def raw(datatype: str, tensor: Tensor) -> Any:
    request = INFERENCE.ModelInferRequest(raw_input_contents=[encode_raw(tensor)])
    request.inputs.add(name="x", datatype=datatype, shape=tensor.shape)
    return request


def as_tritonclient_reads(asked: Asked, tensor: Tensor) -> Tensor:
    from tritonclient.grpc import InferResult, service_pb2

    response = INFERENCE.ModelInferResponse()
    fill_response(response, InferAnswer("m", 7, "fake", {"y": tensor}, 0, 0), "id", asked.is_raw)
    read = service_pb2.ModelInferResponse.FromString(response.SerializeToString())
    assert (read.model_name, read.model_version, read.id) == ("m", "7", "id")
    assert bool(read.raw_output_contents) == asked.is_raw, "answered in kind"
    if asked.is_raw:
        return np.asarray(InferResult(read).as_numpy("y"))
    # tritonclient's InferResult reads no typed contents, its messages do.
    [output] = read.outputs
    return np.array(getattr(output.contents, FIELDS[output.datatype]), tensor.dtype).reshape(output.shape)


@pytest.mark.parametrize("datatype", sorted(FIELDS))
def test_typed_contents_come_and_go(datatype: str) -> None:
    tensor = sample(datatype)
    asked = decode_request(typed(datatype, tensor), signature(datatype))
    decoded = asked.inputs["x"]
    assert DATATYPES[decoded.dtype] == datatype
    assert encode_raw(decoded) == encode_raw(tensor)
    np.testing.assert_array_equal(as_tritonclient_reads(asked, tensor), tensor)


@pytest.mark.parametrize("datatype", sorted(DTYPES))
def test_raw_contents_come_and_go(datatype: str) -> None:
    tensor = sample(datatype)
    asked = decode_request(raw(datatype, tensor), signature(datatype))
    assert encode_raw(asked.inputs["x"]) == encode_raw(tensor)
    read = as_tritonclient_reads(asked, tensor)
    if datatype == "BF16":
        assert read.dtype.name == "bfloat16"
        read = read.view(BFLOAT16)
    assert read.dtype == tensor.dtype
    np.testing.assert_array_equal(read, tensor)


def test_an_fp16_output_makes_every_output_raw() -> None:
    outputs: dict[str, Tensor] = {"half": np.ones((1, 2), np.float16), "whole": np.ones((1, 2), np.float32)}
    response = INFERENCE.ModelInferResponse()
    fill_response(response, InferAnswer("m", 1, "fake", outputs, 0, 0), "", is_raw=False)
    assert [len(data) for data in response.raw_output_contents] == [4, 8]
    assert not any(output.HasField("contents") for output in response.outputs)


def test_an_empty_tensor_is_answered_in_kind_too() -> None:
    response = INFERENCE.ModelInferResponse()
    fill_response(response, InferAnswer("m", 1, "fake", {"y": np.empty((0, 3), np.float32)}, 0, 0), "", is_raw=False)
    assert response.outputs[0].HasField("contents")
    assert list(response.outputs[0].shape) == [0, 3]


@pytest.mark.parametrize(
    ("datatype", "values", "field"),
    [
        ("INT8", [128, 0, 0], "int_contents"),
        ("INT8", [-129, 0, 0], "int_contents"),
        ("INT16", [2**15, 0, 0], "int_contents"),
        ("UINT8", [256, 0, 0], "uint_contents"),
        ("UINT16", [2**16, 0, 0], "uint_contents"),
    ],
)
def test_numbers_that_do_not_fit_a_narrow_type(datatype: str, values: list[int], field: str) -> None:
    request = typed(datatype, np.array([values]), field)
    with pytest.raises(InvalidRequest, match=f"a number is out of range for {datatype}"):
        decode_request(request, signature(datatype))


def spoiled(**change: Any) -> Any:
    """A good request with one thing changed."""
    request = typed("FP32", sample("FP32"))
    for name, value in change.items():
        match name:
            case "shape":
                del request.inputs[0].shape[:]
                request.inputs[0].shape.extend(value)
            case "fp64":
                request.inputs[0].contents.fp64_contents.append(value)
            case "raw":
                request.raw_input_contents.extend(value)
            case "parameter":
                setattr(request.parameters[value[0]], value[1], value[2])
            case "input_parameter":
                request.inputs[0].parameters[value].int64_param = 1
            case "output_parameter":
                request.outputs.add(name="y").parameters[value].int64_param = 1
            case _:
                setattr(request.inputs[0], name, value)
    return request


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "z"}, "unexpected input 'z': expected x FP32"),
        ({"datatype": "FP64"}, "input 'x': expected datatype FP32, got FP64"),
        ({"datatype": "STRING"}, "input 'x': expected a datatype of BOOL"),
        ({"datatype": "BYTES"}, "input 'x': expected datatype FP32, got BYTES"),
        ({"datatype": ""}, "got ''"),
        ({"shape": [6]}, "expected shape"),
        ({"shape": [-2, -3]}, "expected at most 64 sizes of 0"),
        ({"shape": [2**62, 3]}, "expected at most 64 sizes of 0"),
        ({"shape": [1] * 65}, "expected at most 64 sizes of 0"),
        ({"shape": [3, 3]}, "expected 9 elements for shape [3, 3], got 6"),
        ({"shape": [2**31 - 1, 3]}, "expected 6442450941 elements"),
        ({"fp64": 1.0}, "expected FP32 in fp32_contents, got fp32_contents, fp64_contents"),
        ({"raw": [b"x", b"y"]}, "expected raw_input_contents for each of 1 inputs, or for none, got 2"),
        ({"raw": [b"x" * 24]}, "has contents beside raw_input_contents"),
        ({"parameter": ("timeout", "int64_param", 0)}, "parameter 'timeout': expected microseconds above 0, got 0"),
        ({"parameter": ("timeout", "int64_param", -5)}, "expected microseconds above 0, got -5"),
        ({"parameter": ("timeout", "string_param", "1s")}, "expected int64_param or uint64_param, got string_param"),
        ({"parameter": ("engine", "bool_param", True)}, "parameter 'engine': expected string_param, got bool_param"),
        ({"input_parameter": "shared_memory_region"}, "input 'x': parameter 'shared_memory_region' is not supported"),
        ({"output_parameter": "classification"}, "output 'y': parameter 'classification' is not supported"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_request(spoiled(**change), signature("FP32"))
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("datatype", "data", "said"),
    [
        ("FP32", b"x" * 23, "expected 24 bytes for FP32[2, 3], got 23"),
        ("FP32", b"", "expected 24 bytes for FP32[2, 3], got 0"),
        ("BOOL", b"\x00\x01\x02\x00\x01\x00", "expected bytes 0 and 1 for BOOL"),
        ("BF16", b"x" * 11, "expected 12 bytes for BF16[2, 3], got 11"),
        ("BYTES", bytes(23), "expected at least 24 bytes for BYTES[2, 3], got 23"),
        ("BYTES", bytes(25), "expected BYTES, each after its length: 1 bytes follow the 6 elements"),
        ("BYTES", bytes(20) + b"\5\0\0\0abcd", "element 5 says 5 bytes, 4 are left"),
        ("BYTES", b"\xff" * 24, "element 0 says 4294967295 bytes, 20 are left"),
        ("BYTES", b"\2\0\0\0" + bytes(21), "element 5 has no length: 3 bytes are left"),
    ],
)
def test_wrong_raw_contents(datatype: str, data: bytes, said: str) -> None:
    request = INFERENCE.ModelInferRequest(raw_input_contents=[data])
    request.inputs.add(name="x", datatype=datatype, shape=[2, 3])
    with pytest.raises(InvalidRequest) as caught:
        decode_request(request, signature(datatype))
    assert said in caught.value.message


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_short_floats_have_no_typed_field(datatype: str) -> None:
    request = INFERENCE.ModelInferRequest()
    request.inputs.add(name="x", datatype=datatype, shape=[1, 3])
    with pytest.raises(InvalidRequest, match=f"expected {datatype} in raw_input_contents"):
        decode_request(request, signature(datatype))


def test_an_input_sent_twice() -> None:
    request = typed("FP32", sample("FP32"))
    request.inputs.add().CopyFrom(request.inputs[0])
    with pytest.raises(InvalidRequest, match="input 'x' was sent twice"):
        decode_request(request, signature("FP32"))


def test_what_the_client_asks_for_beside_tensors() -> None:
    request = typed("FP32", sample("FP32"))
    request.outputs.add(name="y")
    request.parameters["timeout"].uint64_param = 250_000
    request.parameters["engine"].string_param = "tfserving"
    request.parameters["sequence_id"].int64_param = 4
    asked = decode_request(request, signature("FP32"))
    assert (asked.outputs, asked.timeout_s, asked.engine) == (("y",), 0.25, "tfserving")
