"""The generator's reader of HTTP: whole answers out of whatever pieces come."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.bench.http_answers import AnswerParser, BadHttp, encode_post

ANSWERS = [(200, b"logits"), (429, b""), (200, b"\r\n\r\n" * 3), (503, b"x" * 1000)]
STREAM = b"".join(
    b"HTTP/1.1 %d Some reason\r\nServer: x\r\nCONTENT-Length:  %d \r\nX-Last: 1\r\n\r\n%s" % (status, len(body), body)
    for status, body in ANSWERS
)


@given(st.lists(st.integers(0, len(STREAM))))
def test_answers_come_whole_however_the_bytes_are_cut(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(STREAM)]
    parser = AnswerParser()
    found = [answer for start, end in pairwise(ends) for answer in parser.feed(STREAM[start:end])]
    assert [(answer.status, answer.body) for answer in found] == ANSWERS


def test_headers_are_found_whatever_their_case() -> None:
    (answer,) = AnswerParser().feed(
        b"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: 37\r\ncontent-length: 0\r\n\r\n"
    )
    assert answer.header("inference-header-content-length") == "37"
    assert answer.header("x-engine") is None


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"\x16\x03\x01 something else\r\n\r\n",
    ],
)
def test_what_cannot_be_counted_on_is_refused(data: bytes) -> None:
    with pytest.raises(BadHttp):
        AnswerParser().feed(data)


def test_a_request_says_how_long_its_body_is() -> None:
    request = encode_post("/infer", "127.0.0.1:1", {"X-Engine": "torchserve"}, b"\x00\x01")
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /infer HTTP/1.1",
        b"Host: 127.0.0.1:1",
        b"X-Engine: torchserve",
        b"Content-Length: 2",
    ]
    assert body == b"\x00\x01"
