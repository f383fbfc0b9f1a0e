"""The Open Inference Protocol's codec: what is accepted, what is answered, and what every bad body is told."""

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gateway.core.errors import LONGEST_MESSAGE, InvalidRequest
from gateway.core.messages import InferAnswer
from gateway.core.tensors import DTYPES, Signature, Tensor, TensorSpec
from gateway.protocols.oip import HEADER_LENGTH, Asked, Decoded, decode_request, encode_answer


def body(**tensor: Any) -> bytes:
    return json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], **tensor}]}).encode()


def decode(sent: bytes, header_length: str | None = None) -> Decoded:
    """Decode against the signature that the body itself claims, so that only the codec's own checks speak."""
    try:
        document = json.loads(sent[: int(header_length)] if header_length else sent)
        claimed = [TensorSpec(t["name"], t["datatype"], tuple(t["shape"])) for t in document["inputs"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        claimed = []
    return decode_request(sent, header_length, Signature(tuple(claimed) or (TensorSpec("x", "FP32", (2, 2)),), ()))


def binary(tensor: Tensor, datatype: str, **parameters: Any) -> tuple[bytes, str]:
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": "x",
                    "datatype": datatype,
                    "shape": tensor.shape,
                    "parameters": {"binary_data_size": tensor.nbytes},
                }
            ],
            "parameters": parameters,
        }
    ).encode()
    return header + tensor.tobytes(), str(len(header))


@pytest.mark.parametrize("data", [[1, 2.5, -3, 4e3], [[1, 2.5], [-3, 4e3]]])
def test_json_data_flat_or_nested(data: list[Any]) -> None:
    decoded = decode(body(data=data), None)
    assert decoded.inputs["x"].dtype == np.float32
    assert decoded.inputs["x"].tolist() == [[1, 2.5], [-3, 4000]]


def decode_asked(sent: bytes, header_length: str | None = None) -> Asked:
    return decode(sent, header_length).asked


@given(
    st.sampled_from(sorted(DTYPES.keys() - {"BF16", "BYTES"})).flatmap(
        lambda name: st.tuples(
            st.just(name),
            hnp.arrays(
                DTYPES[name],
                hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4),
                elements={"allow_nan": False, "allow_infinity": False} if name.startswith("FP") else None,
            ),
        )
    )
)
@settings(deadline=None)
def test_any_tensor_survives_both_ways(typed: tuple[str, Tensor]) -> None:
    datatype, tensor = typed
    flat = tensor.reshape(-1).tolist()
    as_json = json.dumps(
        {"inputs": [{"name": "x", "datatype": datatype, "shape": tensor.shape, "data": flat}]}
    ).encode()
    np.testing.assert_array_equal(decode(as_json, None).inputs["x"], tensor)
    decoded = decode(*binary(tensor, datatype, binary_data_output=True))
    np.testing.assert_array_equal(decoded.inputs["x"], tensor)

    answer = InferAnswer("m", 3, "torchserve", {"y": tensor}, 0, 0)
    content, headers = encode_answer(answer, decoded.asked)
    header_bytes = int(headers[HEADER_LENGTH])
    output = json.loads(content[:header_bytes])["outputs"][0]
    assert output["parameters"]["binary_data_size"] == tensor.nbytes
    back = np.frombuffer(content[header_bytes:], DTYPES[output["datatype"]]).reshape(output["shape"])
    np.testing.assert_array_equal(back, tensor)


def test_json_answer_names_what_was_asked() -> None:
    asked = decode_asked(b'{"id": "a1", "inputs": [{"name":"x","datatype":"INT8","shape":[1],"data":[1]}]}', None)
    tensor = np.array([[0.1, 2]], np.float32)
    content, headers = encode_answer(InferAnswer("m", 3, "torchserve", {"y": tensor}, 0, 0), asked)
    assert headers == {"Content-Type": "application/json"}
    assert json.loads(content) == {
        "model_name": "m",
        "model_version": "3",
        "id": "a1",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [0.1, 2.0]}],
    }


def test_one_output_may_be_binary_and_another_not() -> None:
    asked = decode_asked(
        b'{"inputs": [], "outputs": [{"name": "a", "parameters": {"binary_data": true}}, {"name": "b"}]}', None
    )
    assert asked.outputs == ("a", "b")
    tensor = np.array([7], np.int16)
    content, headers = encode_answer(InferAnswer("m", 3, "torchserve", {"a": tensor, "b": tensor}, 0, 0), asked)
    outputs = json.loads(content[: int(headers[HEADER_LENGTH])])["outputs"]
    assert "data" not in outputs[0]
    assert outputs[1]["data"] == [7]
    assert content.endswith(tensor.tobytes())


def test_parameters_name_engine_and_deadline() -> None:
    decoded = decode_asked(b'{"inputs": [], "parameters": {"engine": "tfserving", "timeout": 2500000}}', None)
    assert (decoded.engine, decoded.timeout_s) == ("tfserving", 2.5)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", "malformed inference request"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `inputs`"),
        (b'{"inputs": [}', "malformed inference request"),
        (b'{"inputs": [{"name": "x"}]}', "missing required field `datatype` - at `$.inputs[0]`"),
        (b'{"inputs": [{"name": "\xff"}]}', "malformed inference request"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (body(), "has no data"),
        (body(data=[1, 2, 3]), "expected 4 elements for shape [2, 2], got 3"),
        (body(data=[[1, 2, 3], [4, 5, 6]]), "expected 4 elements"),
        (body(data=[[1, 2, 3, 4]]), "expected data nested as its shape [2, 2] says, got [1, 4]"),
        (body(data=[[1, 2], [3]]), "ragged"),
        (body(data=[[[1, 2], [3, 4]]]), "nested 2 deep for shape [2, 2], got one nested 3 deep"),
        (body(data=[1, 2, 3, "4"]), "Expected `float`, got `str` - at `$[3]`"),
        (body(data=[1, 2, 3, None]), "Expected `float`, got `null`"),
        (body(data=[1, 2, 3, True]), "Expected `float`, got `bool`"),
        (body(data="1234"), "got one nested 0 deep"),
        (body(data=[1, 2, 3, 1e39]), "out of range for FP32"),
        (body(data=[1, 2, 3, 4]).replace(b"4]", b"1e999]"), "out of range"),
        (body(data=[1, 2, 3, float("nan")]), "malformed"),
        (body(datatype="INT8", data=[1, 2, 3, 1000]), "out of range for INT8"),
        (body(datatype="UINT8", data=[1, 2, 3, -1]), "out of range for UINT8"),
        (body(datatype="INT64", data=[1, 2, 3, 1.5]), "Expected `int`, got `float`"),
        (body(datatype="BOOL", data=[1, 0, 1, 0]), "Expected `bool`, got `int`"),
        (body(datatype="STRING", data=["a"] * 4), "expected a datatype of BOOL, UINT8"),
        (body(datatype="BF16", data=[1, 2, 3, 4]), "input 'x': JSON has no BF16: send binary data"),
        (body(datatype="BYTES", data=["a", "b", "c"]), "expected 4 elements for shape [2, 2], got 3"),
        (body(datatype="BYTES", data=["a", "b", "c", 4]), "Expected `str`, got `int` - at `$[3]`"),
        (body(datatype="BYTES", data=["a", "b", "c", None]), "Expected `str`, got `null`"),
        (body(datatype="BYTES", data=[["a", "b"], ["c"]]), "ragged"),
        (body(datatype="BYTES", data=[["a", "b"], "cd"]), "Expected `array`, got `str`"),
        (body(datatype="BYTES", data=[[["a", "b"], ["c", "d"]]]), "got one nested 3 deep"),
        (body(datatype="BYTES", data=["\ud800"] * 4), "unexpected end of hex escape"),
        (body(datatype="BYTES", data=["a"] * 4).replace(b"a", b"\xff"), "malformed inference request"),
        (
            body(datatype="BYTES", shape=[2**31 - 1], data=["a"]),
            "expected at most 131072 elements of BYTES in a request, got 2147483647",
        ),
        (body(shape=[-1, 2], data=[1]), "expected at most 64 sizes of 0 to 2147483647"),
        (body(shape=[10**12, 10**12], data=[1]), "expected at most 64 sizes"),
        (body(shape=[2**31 - 1] * 40, data=[1]), "is too large"),
        (body(shape=[1] * 65, data=[1]), "expected at most 64 sizes"),
        (b'{"inputs": [], "parameters": {"timeout": 0}}', "expected microseconds above 0, got 0"),
        (b'{"inputs": [], "parameters": {"timeout": ' + b"9" * 400 + b"}}", "expected microseconds above 0, got 999"),
        (b'{"inputs": [], "parameters": {"timeout": true}}', "parameter 'timeout': expected int"),
        (b'{"inputs": [], "parameters": {"engine": 1}}', "parameter 'engine': expected str"),
        (
            b'{"inputs": [{"name":"x","datatype":"INT8","shape":[1],"data":[1]},'
            b'{"name":"x","datatype":"INT8","shape":[1],"data":[1]}]}',
            "input 'x' was sent twice",
        ),
        (body(data=[1, 2, 3, 4])[:-1] + b', "inputs": []}', "the key 'inputs' stands twice in one object"),
        (body(data=[1, 2, 3, 4]).replace(b'"shape"', b'"shape": [4], "shape"'), "the key 'shape' stands twice"),
        (b'{"inputs": [], "parameters": {"timeout": 1, "timeout": 2}}', "the key 'timeout' stands twice"),
        (b'{"inputs": [], "parameters": {"engine": "x"}, "parameters": {"timeout": 5}}', "'parameters' stands twice"),
        (b'{"inputs": [], "\\u0069nputs": []}', "the key 'inputs' stands twice"),
    ],
)
def test_a_bad_body_is_told_what_was_expected_and_what_came(sent: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        decode(sent)
    assert said in error.value.message
    assert len(error.value.message) <= LONGEST_MESSAGE


ROW = np.array([1, 2], np.float32)


@pytest.mark.parametrize(
    ("sent", "header_length", "said"),
    [
        (b"{}", "abc", "expected a number of bytes, got 'abc'"),
        (b"{}", "-1", "expected a number of bytes"),
        (b"{}", "3", "expected at most the body's 2 bytes, got 3"),
        (b"{}", "9" * 5000, "expected a number of bytes"),
        (binary(ROW, "FP32")[0][:-1], binary(ROW, "FP32")[1], "expected 8 bytes of tensor data, got 7"),
        (binary(ROW, "FP32")[0] + b"!", binary(ROW, "FP32")[1], "1 bytes follow the tensors"),
        (*binary(ROW, "FP64"), "expected 16 bytes for FP64[2], got 8"),
        (*binary(ROW.view(np.uint8), "BOOL"), "expected bytes 0 and 1 for BOOL"),
        (body(data=[1, 2, 3, 4], parameters={"binary_data_size": 16}), None, "both data and binary_data_size"),
        (body(parameters={"binary_data_size": 16}), None, "expected 16 bytes of tensor data, got 0"),
        (body(parameters={"binary_data_size": "16"}), None, "parameter 'binary_data_size': expected int"),
        (body(parameters={"shared_memory_region": "x"}), None, "input 'x': parameter 'shared_memory_region' is not"),
        (
            b'{"inputs": [], "outputs": [{"name": "y", "parameters": {"classification": 3}}]}',
            *(None, "output 'y': parameter 'classification' is not supported"),
        ),
    ],
)
def test_a_bad_binary_body(sent: bytes, header_length: str | None, said: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        decode(sent, header_length)
    assert said in error.value.message


def test_data_that_cannot_fit_the_signature_is_not_even_read() -> None:
    signature = Signature((TensorSpec("x", "FP32", (-1, 2)),), ())
    endless = (
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, %s], "data": [' + b"0," * 1_000_000 + b"0]}]}"
    )
    with pytest.raises(InvalidRequest, match=re.escape("expected shape [-1, 2] (-1 is any), got [1, 9]")):
        decode_request(endless % b"9", None, signature)
    with pytest.raises(InvalidRequest, match="expected 2 elements, got 2000003 bytes of them"):
        decode_request(endless % b"2", None, signature)
    with pytest.raises(InvalidRequest, match="unexpected input 'y'"):
        decode_request(endless.replace(b'"x"', b'"y"') % b"2", None, signature)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_json_cannot_carry_what_is_not_finite_but_bytes_can(value: float) -> None:
    answer = InferAnswer("m", 3, "torchserve", {"y": np.array([value], np.float32)}, 0, 0)
    with pytest.raises(InvalidRequest, match="ask for binary data"):
        encode_answer(answer, decode_asked(b'{"inputs": []}'))
    content, _ = encode_answer(answer, decode_asked(b'{"inputs": [], "parameters": {"binary_data_output": true}}'))
    assert content.endswith(np.float32(value).tobytes())


def test_a_string_may_hold_what_elsewhere_is_a_key() -> None:
    sent = body(data=[1, 2, 3, 4])[:-1] + b', "id": "inputs", "parameters": {"data": "shape", "name": "id"}}'
    assert decode_asked(sent).id == "inputs"


TWO = Signature((TensorSpec("x", "FP32", (-1, 2)), TensorSpec("y", "FP32", (-1, 2))), ())


def test_a_body_of_tensor_data_alone_is_the_only_input() -> None:
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    decoded = decode_request(rows.tobytes(), "0", Signature((TensorSpec("x", "FP32", (-1, 2)),), ()))
    np.testing.assert_array_equal(decoded.inputs["x"], rows)
    assert decoded.asked.is_binary
    fixed = decode_request(rows.tobytes(), "0", Signature((TensorSpec("x", "FP32", (3, 2)),), ()))
    np.testing.assert_array_equal(fixed.inputs["x"], rows)


@pytest.mark.parametrize(
    ("shape", "size", "said"),
    [
        ((-1, 2), 12, "expected whole tensors x FP32[-1, 2] with at most one free size, got 12 bytes"),
        ((3, 2), 16, "expected whole tensors x FP32[3, 2]"),
        ((-1, -1), 16, "with at most one free size"),
        ((-1, 0), 16, "expected whole tensors"),
    ],
)
def test_a_body_that_is_no_whole_tensor(shape: tuple[int, ...], size: int, said: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(said)):
        decode_request(bytes(size), "0", Signature((TensorSpec("x", "FP32", shape),), ()))
    with pytest.raises(InvalidRequest, match="is for one input, not 2"):
        decode_request(bytes(size), "0", TWO)
