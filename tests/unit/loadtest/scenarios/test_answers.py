"""Each protocol's question and answer, and that no wrong one passes in any of them."""

import io
import json
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image as Picture

from contracts.descriptors import Package, load_pool
from contracts.oip_bodies import HEADER_LENGTH, Array
from loadtest.scenarios.answers import Answer, Expectation, find_fault, find_label
from loadtest.scenarios.dialects import NO_ANSWER, make_dialect
from loadtest.scenarios.shapes import Protocol
from tests.unit.loadtest.scenarios.rows import (
    IMAGE,
    LABEL,
    LOGITS,
    QUESTION,
    WHO,
    binary_answer,
    grpc_answer,
    image_answer,
    json_answer,
)

Answering = Callable[[Array], tuple[bytes, dict[str, str]]]
ANSWERS: dict[Protocol, Answering] = {
    Protocol.BINARY: binary_answer,
    Protocol.JSON: json_answer,
    Protocol.IMAGE: image_answer,
    Protocol.GRPC: grpc_answer,
}
EXPECTED = Expectation(frozenset(), None, "logits", tuple("0123456789"))

each_protocol = pytest.mark.parametrize("protocol", ANSWERS, ids=str)


def decoded(protocol: Protocol, logits: Array) -> Answer:
    return make_dialect(protocol, "mnist").decode(*ANSWERS[protocol](logits))


@each_protocol
def test_a_right_answer_has_no_fault_and_the_right_label(protocol: Protocol) -> None:
    answer = decoded(protocol, LOGITS[2])
    assert find_fault(QUESTION, answer, EXPECTED) == ""
    assert find_label(answer, EXPECTED) == LABEL


@each_protocol
def test_another_versions_answer_is_found_out(protocol: Protocol) -> None:
    assert "version 1 computed it" in find_fault(QUESTION, decoded(protocol, LOGITS[1]), EXPECTED)


@each_protocol
def test_a_wrong_number_is_found_out(protocol: Protocol) -> None:
    logits = LOGITS[2].copy()
    logits[0, LABEL] -= 0.5
    logits[0, (LABEL + 1) % 10] = np.max(logits) + 1
    answer = decoded(protocol, logits)
    assert "did not compute this" in find_fault(QUESTION, answer, EXPECTED)
    assert find_label(answer, EXPECTED) == (LABEL + 1) % 10


@each_protocol
@pytest.mark.parametrize(
    ("headers", "expected", "said"),
    [
        ({"x-model-version": ""}, EXPECTED, "X-Model-Version is ''"),
        ({"x-model-version": "1"}, EXPECTED, "X-Model-Version is 1, the body says version 2"),
        ({}, Expectation(frozenset({1, 3}), None, "logits"), "version 2 answered, expected 1 or 3"),
        ({"x-engine": ""}, EXPECTED, "X-Engine is ''"),
        ({}, Expectation(frozenset(), "torchserve", "logits"), "X-Engine is 'tfserving', expected torchserve"),
    ],
)
def test_who_answered_must_be_told_and_be_right(
    protocol: Protocol, headers: dict[str, str], expected: Expectation, said: str
) -> None:
    body, told = ANSWERS[protocol](LOGITS[2])
    answer = make_dialect(protocol, "mnist").decode(body, told | headers)
    assert said in find_fault(QUESTION, answer, expected)


@each_protocol
@pytest.mark.parametrize("body", [b"", b"{}", b"\xff\xff\xff", b'{"outputs": [{}]}'])
def test_what_is_no_answer_is_refused(protocol: Protocol, body: bytes) -> None:
    if protocol is Protocol.GRPC and body == b"":
        answer = make_dialect(protocol, "mnist").decode(body, WHO)
        assert find_fault(QUESTION, answer, EXPECTED), "an empty message is an answer without outputs"
        return
    with pytest.raises(NO_ANSWER):
        make_dialect(protocol, "mnist").decode(body, WHO | {HEADER_LENGTH.lower(): str(len(body))})


def test_the_question_is_the_same_in_every_protocol() -> None:
    said = {protocol: make_dialect(protocol, "mnist").encode(QUESTION) for protocol in ANSWERS}
    length = int(said[Protocol.BINARY].headers[HEADER_LENGTH])
    raw = said[Protocol.BINARY].body[length:]
    assert raw == IMAGE.tobytes()
    (tensor,) = json.loads(said[Protocol.JSON].body)["inputs"]
    assert np.array(tensor["data"], np.float32).tobytes() == raw, "no digit is lost"
    request = Package(load_pool(), "inference").ModelInferRequest.FromString(said[Protocol.GRPC].body)
    assert (request.raw_input_contents[0], request.inputs[0].datatype) == (raw, "FP32")
    picture = np.asarray(Picture.open(io.BytesIO(said[Protocol.IMAGE].body)))
    assert np.array_equal(picture.astype(np.float32) / np.float32(255), IMAGE[0])
    assert len({message.path for message in said.values()}) == 3
