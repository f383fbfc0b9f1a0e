"""Compressed bodies: both codings, both ways, within the limit."""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import InvalidRequest, ServingError, TooLarge, UnknownCoding
from gateway.protocols.content_coding import choose_coding, decode_content, encode_content, is_coded
from tests.unit.gateway.listening import GOOD, INFER, Listening
from tests.unit.gateway.served import BODY_LIMIT, Served, serving


def zipped(data: bytes) -> bytes:
    """The same bytes whenever it is called: they stand in names of tests."""
    return gzip.compress(data, mtime=0)


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


@given(st.binary(max_size=3000))
def test_what_is_compressed_is_read_back(content: bytes) -> None:
    for coding in ("gzip", "deflate"):
        assert decode_content(encode_content(content, coding), coding, 3000) == content
    halves = zipped(content[:7]) + zipped(content[7:])
    assert decode_content(halves, "GZIP", 3000) == content
    assert decode_content(zipped(content), " x-gzip", 3000) == content


def test_deflate_without_its_frame() -> None:
    assert decode_content(raw_deflate(GOOD), "deflate", 1000) == GOOD


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate"]))
def test_garbage_is_refused_and_nothing_else(garbage: bytes, coding: str) -> None:
    with suppress(InvalidRequest, TooLarge):
        assert len(decode_content(garbage, coding, 1000)) <= 1000


@pytest.mark.parametrize(
    ("body", "coding", "kind", "said"),
    [
        (zipped(bytes(1001)), "gzip", TooLarge, "at most 1000 bytes when decompressed"),
        (zlib.compress(bytes(50_000_000)), "deflate", TooLarge, "at most 1000 bytes"),
        (zipped(bytes(600)) * 2, "gzip", TooLarge, "at most 1000 bytes"),
        (zipped(b"") * 17, "gzip", InvalidRequest, "at most 16 gzip streams"),
        (zipped(GOOD)[:-9], "gzip", InvalidRequest, "cut off"),
        (b"", "gzip", InvalidRequest, "cut off"),
        (GOOD, "gzip", InvalidRequest, "is not gzip, as Content-Encoding says"),
        (zipped(GOOD) + b"and more bytes", "gzip", InvalidRequest, "is not gzip"),
        (GOOD, "br", UnknownCoding, "expected Content-Encoding gzip or deflate, got 'br'"),
        (GOOD, "gzip, gzip", UnknownCoding, "got 'gzip, gzip'"),
    ],
)
def test_what_is_refused(body: bytes, coding: str, kind: type[ServingError], said: str) -> None:
    with pytest.raises(kind) as refused:
        decode_content(body, coding, 1000)
    assert said in refused.value.message


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip;q=1.0, *;q=0.5", "gzip"),
        ("gzip;q=0.2, deflate;q=0.7", "deflate"),
        ("gzip;q=0", None),
        ("*", "gzip"),
        ("gzip;q=0, *", "deflate"),
        ("br, identity", None),
        ("gzip;q=wild", None),
    ],
)
def test_what_the_client_accepts(accepted: str, coding: str | None) -> None:
    assert choose_coding(accepted) == coding


@pytest.mark.parametrize(("header", "coded"), [(None, False), ("", False), ("identity", False), ("br", True)])
def test_identity_is_no_coding(header: str | None, coded: bool) -> None:
    assert is_coded(header) is coded


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("coding")) as served:
        yield served


@pytest.mark.parametrize(
    ("body", "coding", "status"),
    [
        (zipped(GOOD), "gzip", 200),
        (zlib.compress(GOOD), "deflate", 200),
        (GOOD, "identity", 200),
        (zipped(GOOD + b" " * BODY_LIMIT), "gzip", 413),
        (GOOD, "gzip", 400),
        (GOOD, "zstd", 415),
    ],
)
def test_request_bodies(shared: Served, body: bytes, coding: str, status: int) -> None:
    response = shared.client.post("/v2/models/adder/infer", content=body, headers={"Content-Encoding": coding})
    assert response.status_code == status, response.text
    assert (response.headers.get("Accept-Encoding") is not None) == (status == 415)


def test_large_answers_are_compressed_for_who_asks(listening: Listening) -> None:
    rows = [[1.5, 2.5]] * 1000
    body = json.dumps({"inputs": [{"name": "a", "datatype": "FP32", "shape": [1000, 2], "data": rows}]}).encode()
    head = INFER + b"connection: close\r\naccept-encoding: %s\r\ncontent-length: %d\r\n\r\n"
    answers = {coding: listening.send(head % (coding, len(body)), body) for coding in (b"gzip", b"identity")}
    heads = {coding: answer.partition(b"\r\n\r\n") for coding, answer in answers.items()}
    assert b"content-encoding: gzip" in heads[b"gzip"][0].lower()
    assert b"vary: accept-encoding" in heads[b"identity"][0].lower()
    assert b"content-encoding" not in heads[b"identity"][0].lower()
    assert gzip.decompress(heads[b"gzip"][2]) == heads[b"identity"][2]
    assert len(heads[b"gzip"][2]) < len(heads[b"identity"][2]) / 10
