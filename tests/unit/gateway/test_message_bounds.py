"""Messages that would become much larger by being parsed are refused before; all others are parsed."""

import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError

from gateway.core.errors import InvalidRequest
from gateway.protocols.rpc.calls import parse
from gateway.protocols.rpc.message_bounds import MOST_FIELDS, MOST_MESSAGES, MOST_NUMBER_BYTES, WALKED_FROM_BYTES
from tests.unit.gateway.rpc import INFER, INFERENCE, PREDICT, TENSORFLOW, infer_request, rpc_client
from tests.unit.gateway.served import Served

REQUEST = INFERENCE.ModelInferRequest
LARGEST = 64 * 2**20 - 64


def within(descriptor: Any, *path: str) -> Any:
    """The descriptor of the field at the end of this path."""
    *outer, last = path
    for name in outer:
        descriptor = descriptor.fields_by_name[name].message_type
    return descriptor.fields_by_name[last]


def delimited(content: bytes, kind: Any, *path: str) -> bytes:
    """A message of this kind with `content` in the field at the end of the path, and in none beside it."""
    for depth in range(len(path), 0, -1):
        size, length = len(content), bytearray()
        while size > 0x7F:
            length.append(size & 0x7F | 0x80)
            size >>= 7
        tag = within(kind.DESCRIPTOR, *path[:depth]).number << 3 | 2
        content = bytes([tag, *length, size]) + content
    return content


def empty(kind: Any, *path: str) -> bytes:
    """An empty element of a repeated field, as it stands within its message."""
    return bytes([within(kind.DESCRIPTOR, *path).number << 3 | 2, 0])


def repeated(count: int, kind: Any, *path: str) -> bytes:
    """A message with so many empty elements in the field at the end of the path."""
    content = empty(kind, *path) * count
    return delimited(content, kind, *path[:-1]) if path[1:] else content


CONTENTS = ("inputs", "contents")
INT64 = (*CONTENTS, "int64_contents")
AT_THE_BOUND: Mapping[str, Callable[[int], bytes]] = {
    "inputs": lambda more: repeated(MOST_MESSAGES + more, REQUEST, "inputs"),
    "outputs": lambda more: repeated(MOST_MESSAGES + more, REQUEST, "outputs"),
    "parameters": lambda more: repeated(MOST_MESSAGES + more, REQUEST, "parameters"),
    "parameters of an input": lambda more: repeated(MOST_MESSAGES - 1 + more, REQUEST, "inputs", "parameters"),
    "raw contents": lambda more: repeated(MOST_FIELDS + more, REQUEST, "raw_input_contents"),
    "strings": lambda more: repeated(MOST_FIELDS - 2 + more, REQUEST, *CONTENTS, "bytes_contents"),
    "integers": lambda more: delimited(b"\1" * (MOST_NUMBER_BYTES // 8 + more), REQUEST, *INT64),
    "a shape": lambda more: delimited(b"\1" * (MOST_NUMBER_BYTES // 8 + more), REQUEST, "inputs", "shape"),
    "narrow integers": lambda more: delimited(
        b"\1" * (MOST_NUMBER_BYTES // 4 + more), REQUEST, *CONTENTS, "uint_contents"
    ),
    "integers one by one": lambda more: delimited(
        bytes([within(REQUEST.DESCRIPTOR, *INT64).number << 3, 1]) * (MOST_FIELDS - 2 + more), REQUEST, *CONTENTS
    ),
    "fields that nobody knows": lambda more: b"\xf8\x07\x01" * (MOST_FIELDS + more),
}


@pytest.mark.parametrize("what", AT_THE_BOUND)
def test_up_to_the_bound_and_no_further(what: str) -> None:
    assert parse(REQUEST, AT_THE_BOUND[what](0))
    with pytest.raises(InvalidRequest, match=r"expected at most .* in a ModelInferRequest, got more"):
        parse(REQUEST, AT_THE_BOUND[what](1))


@pytest.mark.long
def test_what_is_as_large_as_a_message_may_be_is_no_matter() -> None:
    fp32 = delimited(bytes(LARGEST // 4 * 4), REQUEST, *CONTENTS, "fp32_contents")
    assert len(parse(REQUEST, fp32).inputs[0].contents.fp32_contents) == LARGEST // 4
    assert len(parse(REQUEST, delimited(bytes(LARGEST), REQUEST, "raw_input_contents")).raw_input_contents[0])
    wide = delimited((b"\xff" * 9 + b"\1") * (LARGEST // 10), REQUEST, *INT64)  # ten bytes each there, eight here
    assert len(parse(REQUEST, wide).inputs[0].contents.int64_contents) == LARGEST // 10


@pytest.mark.long
def test_over_grpc_it_is_the_clients_fault(served: Served) -> None:
    tensorflow = TENSORFLOW.PredictRequest
    hostile = {
        INFER: [
            repeated(LARGEST // 2, REQUEST, "inputs"),
            repeated(LARGEST // 2, REQUEST, *CONTENTS, "bytes_contents"),
            delimited(b"\1" * LARGEST, REQUEST, "inputs", "shape"),
        ],
        PREDICT: [
            repeated(LARGEST // 2, tensorflow, "inputs"),
            repeated(LARGEST // 2, tensorflow, "output_filter"),
            repeated(LARGEST // 2, tensorflow, "inputs", "value", "tensor_shape", "dim"),
        ],
    }
    with rpc_client(served.grpc_target) as client:
        for path, messages in hostile.items():
            for message in messages:
                outcome = client.call(path, message, timeout_s=20)
                assert outcome.code is grpc.StatusCode.INVALID_ARGUMENT, outcome.said
                assert "expected at most" in outcome.said
        assert client.call(INFER, infer_request()).code is grpc.StatusCode.OK


def test_malformed_bytes_are_told_as_such() -> None:
    good = infer_request(rows=WALKED_FROM_BYTES // 4).SerializeToString()
    endless = b"\xff" * WALKED_FROM_BYTES
    for message in (endless, good + b"\x0f", good + b"\x3a\xff", good + b"\x3a\x05abc", good + b"\x08"):
        with pytest.raises(InvalidRequest, match="malformed ModelInferRequest"):
            parse(REQUEST, message)


@pytest.mark.long
def test_damaged_messages_are_parsed_or_refused() -> None:
    """Whatever the walk makes of them: it refuses none that is within the bounds, and ends without another error."""
    chance = random.Random(6)
    typed = infer_request(rows=WALKED_FROM_BYTES // 16, is_raw=False)
    for number in range(500):
        typed.parameters[str(number)].string_param = "x" * number
        typed.outputs.add(name="sum")
    good = typed.SerializeToString()
    for _ in range(1000):
        data = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            at = chance.choice((chance.randrange(200), chance.randrange(len(data))))
            data[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(4))
        try:
            REQUEST.FromString(bytes(data))
        except DecodeError:
            with suppress(InvalidRequest):
                parse(REQUEST, bytes(data))
        else:
            assert parse(REQUEST, bytes(data)) is not None
