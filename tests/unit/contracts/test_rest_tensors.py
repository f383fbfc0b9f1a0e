"""JSON to tensors and back: rows and columns, every dtype, every complaint."""

import json
from typing import Any

import numpy as np
import pytest

from contracts.tfserving_rest.answers import encode_error, encode_outputs, float_texts
from contracts.tfserving_rest.arrays import decode_array
from contracts.tfserving_rest.predict import decode_inputs
from contracts.tfserving_rest.refusals import Kind, Refusal

FLOAT, DOUBLE, INT32, UINT8, STRING, INT64, BOOL = "float", "double", "int32", "uint8", "string", "int64", "bool"
UINT16, HALF, UINT32, UINT64 = "uint16", "half", "uint32", "uint64"


def inputs(document: dict[str, Any], **dtypes: str) -> dict[str, Any]:
    return {alias: array.tolist() for alias, array in decode_inputs(document, dtypes, "").arrays.items()}


@pytest.mark.parametrize(
    ("value", "dtype", "array"),
    [
        ([[1, 2.5], [3, 4]], FLOAT, np.array([[1, 2.5], [3, 4]], np.float32)),
        (1e39, FLOAT, np.array(np.inf, np.float32)),
        (2**64 - 1, DOUBLE, np.array(2.0**64)),
        ([], FLOAT, np.zeros(0, np.float32)),
        ([[], []], INT64, np.zeros((2, 0), np.int64)),
        (5, INT32, np.array(5, np.int32)),
        ([300, -1], UINT8, np.array([44, 255], np.uint8)),
        ([2**63], UINT64, np.array([2**63], np.uint64)),
        ([-(2**63)], INT64, np.array([-(2**63)])),
        ([True], BOOL, np.array([True])),
        (["é", {"b64": "/w"}], STRING, np.array(["é".encode(), b"\xff"], np.object_)),
    ],
)
def test_arrays(value: Any, dtype: str, array: Any) -> None:
    decoded = decode_array(value, dtype)
    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (True, FLOAT, "JSON Value: true Type: True is not of expected type: float"),
        (None, INT32, "JSON Value: null Type: Null is not of expected type: int32"),
        ([1, 1.0], INT64, "JSON Value: 1.0 Type: Number is not of expected type: int64"),
        (2**31, INT32, "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        (-1, UINT32, "JSON Value: -1 Type: Number is not of expected type: uint32"),
        (1, BOOL, "JSON Value: 1 Type: Number is not of expected type: bool"),
        (1, STRING, "JSON Value: 1 Type: Number is not of expected type: string"),
        ({"b64": "aGk="}, FLOAT, 'JSON Value: {\n    "b64": "aGk="\n} Type: Object is not of expected type: float'),
        ({"b64": "*"}, STRING, "Unable to base64 decode"),
        ({"b64": 1}, STRING, 'JSON Value: {\n    "b64": 1\n} not formatted correctly for base64 data'),
        ([[1, 2], [3]], FLOAT, "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ([1, [2]], FLOAT, "Encountered list at unexpected level: 1 expected < 1"),
        ([[1], 2], FLOAT, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ([["a", 1], [2]], FLOAT, 'JSON Value: "a" Type: String is not of expected type: float'),
    ],
)
def test_what_is_no_tensor(value: Any, dtype: str, message: str) -> None:
    with pytest.raises(Refusal) as caught:
        decode_array(value, dtype)
    assert (caught.value.kind, caught.value.message) == (Kind.INVALID_ARGUMENT, message)


@pytest.mark.parametrize("dtype", [HALF, UINT16, "complex64", "bfloat16"])
def test_what_json_does_not_carry(dtype: str) -> None:
    with pytest.raises(Refusal) as caught:
        decode_array([1], dtype)
    assert str(caught.value) == f"UNIMPLEMENTED: Conversion of JSON Value: 1 to type: {dtype}"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"instances": [[1], [2]]}, {"x": [[1], [2]]}),
        ({"instances": [1, 2]}, {"x": [1, 2]}),
        ({"instances": [{"x": 1}, {"x": 2}]}, {"x": [1, 2]}),
        ({"inputs": 1}, {"x": 1}),
        ({"inputs": {"x": [[1]], "other": "ignored"}}, {"x": [[1]]}),
    ],
)
def test_one_input(document: dict[str, Any], expected: dict[str, Any]) -> None:
    assert inputs(document, x=FLOAT) == expected


def test_several_inputs_and_strings() -> None:
    row = {"instances": [{"a": 1, "b": ["x"]}, {"b": ["y"], "a": 2}]}
    assert inputs(row, a=INT32, b=STRING) == {"a": [1, 2], "b": [[b"x"], [b"y"]]}
    assert inputs({"instances": [{"b64": "aGk="}, "x"]}, s=STRING) == {"s": [b"hi", b"x"]}
    assert inputs({"inputs": {"b64": "aGk="}}, s=STRING) == {"s": b"hi"}


OF = "of 'instances' list."
PROBLEM = "Error: INVALID_ARGUMENT:"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": {}}, "JSON Value: {\n    \"instances\": {}\n} Expecting 'instances' to be an list/array"),
        ({"instances": []}, "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array"),
        (
            {"instances": [[1], [1, 2]]},
            f"Failed to process element: 1 {OF} {PROBLEM} Expecting tensor size: 1 but got: 2",
        ),
        (
            {"instances": [[[1], [2]], [[1, 2]]]},
            f"Failed to process element: 1 {OF} {PROBLEM} Expecting shape [2,1] but got: [1,2]",
        ),
        ({"instances": [1, {"x": 2}]}, "Expecting value/list but got object at item 1 of input list"),
        ({"instances": [{"x": 2}, 1]}, "Expecting object but got list at item 1 of input list"),
        (
            {"instances": [{"y": 2}]},
            f"Failed to process element: 0 key: y {OF} {PROBLEM} JSON object: does not have named input: y",
        ),
        ({"instances": [{}]}, f"Failed to process element: 0 {OF} JSON object: {{}} keys must be equal to: x"),
        ({"inputs": {}}, "Missing named input: x in 'inputs' object."),
    ],
)
def test_requests_that_are_not_formed_well(document: dict[str, Any], message: str) -> None:
    with pytest.raises(Refusal) as caught:
        inputs(document, x=FLOAT)
    assert str(caught.value) == f"INVALID_ARGUMENT: {message}"


def test_several_inputs_need_names() -> None:
    for document, word in (
        ({"instances": [1]}, "instances is a plain list"),
        ({"inputs": [1]}, "inputs is a plain value"),
    ):
        with pytest.raises(Refusal, match=f"{word}.* as multiple input tensors required as per tensorinfo_map"):
            inputs(document, a=FLOAT, b=FLOAT)
    with pytest.raises(Refusal, match="Failed to get input map for signature: DEFAULT"):
        inputs({})


def test_floats_are_as_short_as_they_can_be() -> None:
    values = [1 / 3, 9_000_000, 3, 0.1, -0.0, 1e-05, np.nan, np.inf, -np.inf, 16777217]
    assert float_texts(np.array(values, np.float32)) == [
        *("0.333333343", "9e+06", "3.0", "0.1", "-0.0", "1e-05", "NaN", "Infinity", "-Infinity", "16777216.0")
    ]
    assert float_texts(np.array([1 / 3, 0.1])) == ["0.33333333333333331", "0.1"]


@pytest.mark.parametrize(
    ("outputs", "is_row", "answer"),
    [
        ({"y": np.array([[1, 2], [3, 4]])}, True, {"predictions": [[1, 2], [3, 4]]}),
        ({"y": np.array(5)}, False, {"outputs": 5}),
        ({"y": np.zeros((0, 3))}, True, {"predictions": []}),
        ({"y": np.zeros((2, 0))}, False, {"outputs": [[], []]}),
        (
            {"a": np.array([1, 2]), "b": np.array([True, False])},
            True,
            {"predictions": [{"a": 1, "b": True}, {"a": 2, "b": False}]},
        ),
        ({"a": np.array([1]), "b": np.array(2)}, False, {"outputs": {"a": [1], "b": 2}}),
        ({"s": np.array([b'"\n', "é".encode()], np.object_)}, True, {"predictions": ['"\n', "é"]}),
        ({"s_bytes": np.array([b"hi"], np.object_)}, True, {"predictions": [{"b64": "aGk="}]}),
    ],
)
def test_answers(outputs: dict[str, Any], is_row: bool, answer: Any) -> None:
    assert json.loads(encode_outputs(outputs, is_row)) == answer


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({}, "Cannot convert empty tensor map to JSON"),
        ({"y": np.array(1)}, "Tensor name: y has no shape information "),
        ({"a": np.zeros(2), "b": np.zeros(3)}, "Tensor name: b has inconsistent batch size: 3 expecting: 2"),
        ({"h": np.zeros(2, np.float16)}, "Failed to write JSON value for tensor type: half"),
    ],
)
def test_what_cannot_be_answered(outputs: dict[str, Any], message: str) -> None:
    with pytest.raises(Refusal) as caught:
        encode_outputs(outputs, is_row=True)
    assert str(caught.value) == f"INVALID_ARGUMENT: {message}"


def test_bytes_that_are_no_text_go_out_as_they_are() -> None:
    assert b'"\xff"' in encode_outputs({"s": np.array([b"\xff"], np.object_)}, is_row=True)
    assert encode_error("\udcff") == b'{\n    "error": "\xff"\n}'
