"""JSON as the original reads it: what is accepted, what is refused, where, and in which words."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.tfserving_rest.grammar import BadJson, parse_exactly
from contracts.tfserving_rest.refusals import Refusal
from contracts.tfserving_rest.values import DESCRIBED_BYTES, decode_base64, describe, parse_json, type_name

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_what_json_writes_is_read_back(value: Any, is_ascii: bool) -> None:
    text = json.dumps({"value": value}, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    if "\\ud" not in text.decode("utf-8", "replace"):
        assert parse_exactly(text) == {"value": value}
        assert parse_json(text) == {"value": value}


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": 1, "a": 2}', {"a": 1}),
        (b'{"a": 1} {"b"', {"a": 1}),
        (b'\xef\xbb\xbf \t{"a": 1}\x00', {"a": 1}),
        (b'{"a": [Inf, -Inf, Infinity, -Infinity]}', {"a": [math.inf, -math.inf, math.inf, -math.inf]}),
        (b'{"a": [18446744073709551615, 18446744073709551616]}', {"a": [2**64 - 1, float(2**64)]}),
        (b'{"a": [-9223372036854775808, -9223372036854775809]}', {"a": [-(2**63), -float(2**63)]}),
        (b'{"a": "\xff\xfe"}', {"a": "\udcff\udcfe"}),
        (rb'{"a": "\ud83d\ude00\u00e9\n\u0000"}', {"a": "😀é\n\0"}),
        (b'{"a": {}, "b": [[], {}]}', {"a": {}, "b": [[], {}]}),
        (b'{"a": ' + b"9" * 200 + b"}", {"a": float("9" * 200)}),
    ],
)
def test_what_is_accepted(body: bytes, value: Any) -> None:
    assert parse_json(body) == value
    assert parse_exactly(body) == value


@pytest.mark.parametrize(
    ("body", "what", "offset"),
    [
        (b" ", "The document is empty.", 1),
        (b"}", "The document is empty.", 0),
        (b"nul", "Invalid value.", 3),
        (b'{"a": nope}', "Invalid value.", 7),
        (b'{"a": -Infinit}', "Invalid value.", 14),
        (b"{1: 2}", "Missing a name for object member.", 1),
        (b'{"a": 1,}', "Missing a name for object member.", 8),
        (b'{"a" 1}', "Missing a colon after a name of object member.", 5),
        (b'{"a": 1 2}', "Missing a comma or '}' after an object member.", 8),
        (b'{"a": 01}', "Missing a comma or '}' after an object member.", 7),
        (b'{"a": [1 2]}', "Missing a comma or ']' after an array element.", 9),
        (b'{"a": [1', "Missing a comma or ']' after an array element.", 8),
        (b'{"a": [1,]}', "Invalid value.", 9),
        (b'{"a": 1.}', "Miss fraction part in number.", 8),
        (b'{"a": 1e+}', "Miss exponent in number.", 9),
        (b'{"a": 1e400}', "Number too big to be stored in double.", 6),
        (b'{"a": ' + b"9" * 5000 + b"}", "Number too big to be stored in double.", 6),
        (b'{"a": "x', "Missing a closing quotation mark in string.", 8),
        (b'{"a": "\x01"}', "Invalid encoding in string.", 7),
        (rb'{"a": "\x"}', "Invalid escape character in string.", 7),
        (rb'{"a": "\u12g4"}', "Incorrect hex digit after \\u escape in string.", 7),
        (rb'{"a": "\ud800"}', "The surrogate pair in string is invalid.", 7),
        (rb'{"a": "\udc00\ud800"}', "The surrogate pair in string is invalid.", 7),
    ],
)
def test_what_is_refused(body: bytes, what: str, offset: int) -> None:
    with pytest.raises(BadJson) as caught:
        parse_exactly(body)
    assert str(caught.value) == f"{what} at offset: {offset}"
    with pytest.raises(Refusal) as told:
        parse_json(body)
    assert told.value.message == f"JSON Parse error: {what} at offset: {offset}"


@pytest.mark.long
def test_no_depth_is_too_deep_to_be_refused_or_described() -> None:
    depth = 200_000
    document = parse_json(b'{"a": ' + b"[" * depth + b"]" * depth + b"}")
    assert len(describe(document)) == DESCRIBED_BYTES
    with pytest.raises(Refusal, match=f"array element. at offset: {depth + 7}"):
        parse_json(b'{"a": ' + b"[" * depth + b"1}")


def test_what_is_large_and_wrong_is_not_read_twice() -> None:
    body = b'{"a": [' + b"1," * 1000 + b"]}"
    with pytest.raises(Refusal, match="Invalid value somewhere in 2009 bytes"):
        parse_json(body, exact_bytes=2000)
    with pytest.raises(Refusal, match=r"Invalid value\. at offset: 2007"):
        parse_json(body, exact_bytes=2009)
    assert parse_json(b'{"a": 1}', exact_bytes=1) == {"a": 1}


@pytest.mark.parametrize(("body", "quoted"), [(b"[]", "[]"), (b"1", "1"), (b'"x"', '"x"'), (b"null", "null")])
def test_the_top_level_is_an_object(body: bytes, quoted: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse_json(body)
    assert caught.value.message == f"JSON Value: {quoted} Is not object"


def test_values_are_described_with_indentation_and_cut() -> None:
    assert describe({"a": [1, "é"], "b": {}}) == '{\n    "a": [\n        1,\n        "é"\n    ],\n    "b": {}\n}'
    assert len(describe(["x" * 1000] * 1000)) == DESCRIBED_BYTES
    values: list[Any] = [None, False, True, {}, [], "", 1, 1.5]
    names = ["Null", "False", "True", "Object", "Array", "String", "Number", "Number"]
    assert list(map(type_name, values)) == names


@pytest.mark.parametrize(("text", "decoded"), [("aGk=", b"hi"), ("aGk", b"hi"), ("", b""), ("+/+/", b"\xfb\xff\xbf")])
def test_base64_padding_may_be_left_out(text: str, decoded: bytes) -> None:
    assert decode_base64({"b64": text}) == decoded


@pytest.mark.parametrize("text", ["a", "a*bc", "aGk=aGk=", "_-_-", "é"])
def test_garbage_is_no_base64(text: str) -> None:
    with pytest.raises(Refusal, match="Unable to base64 decode"):
        decode_base64({"b64": text})


@pytest.mark.parametrize("value", [{"b64": 1}, {"b64": "", "x": 1}, {}, "aGk="])
def test_only_one_key_and_a_string_stand_for_bytes(value: Any) -> None:
    with pytest.raises(Refusal, match="not formatted correctly for base64 data"):
        decode_base64(value)
