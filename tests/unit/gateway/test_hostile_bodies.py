"""Hostile bytes for every HTTP dialect: whatever is sent, the answer is a refusal, and the gateway stays well."""

import gzip
import json
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import numpy as blobs

from contracts.byte_strings import array_of, encode
from gateway.core.errors import InvalidRequest
from gateway.core.tensors import Signature, TensorSpec
from gateway.protocols.oip import HEADER_LENGTH, decode_request
from gateway.protocols.torchserve import decode_blob, decode_json
from tests.unit.gateway.listening import GOOD, Listening

SIGNATURE = Signature((TensorSpec("a", "FP32", (-1, 2)),), (TensorSpec("sum", "FP32", (-1, 2)),))
ROWS = np.array([[1, 2], [3, 4]], np.float32)
HEAD = json.dumps(
    {
        "id": "x",
        "inputs": [{"name": "a", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}}],
        "outputs": [{"name": "sum", "parameters": {"binary_data": True}}],
        "parameters": {"timeout": 1_000_000, "binary_data_output": False},
    }
).encode()
REQUESTS = 1500
PIECES = (
    *(b"\xff", b"\0", b"[", b"{", b'"', b"-1", b"1e999", b"9" * 300, b"null", b"NaN", b'"BYTES"', b'"a"', b"0x10"),
    *(b'{"b64":"aGk="}', b"\\ud800", b'"parameters":{"binary_data_size":-1}', b"4294967296", b"true", b"[[[["),
)


@given(st.binary(max_size=len(HEAD)), st.integers(0, len(HEAD)), st.integers(0, 60), st.integers(-5, 40))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_a_damaged_binary_request_is_decoded_or_refused(garbage: bytes, at: int, cut: int, shift: int) -> None:
    body = HEAD[:at] + garbage[: cut // 2] + HEAD[at + cut :] + ROWS.tobytes()
    for header_length in (str(len(HEAD) + shift), "0", None):
        with suppress(InvalidRequest):
            decoded = decode_request(body, header_length, SIGNATURE)
            assert all(tensor.dtype == np.float32 for tensor in decoded.inputs.values())


@given(st.binary(max_size=60), st.integers(0, 100), st.integers(0, 30))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_a_damaged_blob_or_list_is_decoded_or_refused(garbage: bytes, at: int, cut: int) -> None:
    for good, decode in (
        (blobs.save({"a": ROWS}), decode_blob),
        (json.dumps({"a": ROWS.tolist()}).encode(), lambda body: decode_json(body, SIGNATURE)),
    ):
        with suppress(InvalidRequest):
            assert isinstance(decode(good[:at] + garbage + good[at + cut :]), dict)


TEXTS = Signature((TensorSpec("t", "BYTES", (-1, 2)),), ())


@given(st.binary(max_size=30), st.integers(0, 130), st.integers(0, 20), st.booleans())
@settings(max_examples=600, deadline=None, derandomize=True)
def test_damaged_bytes_are_decoded_or_refused(garbage: bytes, at: int, cut: int, is_in_json: bool) -> None:
    """Whatever the lengths in a body say, what comes of it is a tensor of bytes, or a refusal."""
    item: dict[str, Any] = {"name": "t", "datatype": "BYTES", "shape": [2, 2]}
    raw = encode(array_of([b"", b"one", b"\xff\0", b"four" * 3], (2, 2)))
    given = {"data": ["", "one", "\u20ac", "four"]} if is_in_json else {"parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [item | given]}).encode()
    good = head if is_in_json else head + raw
    body = good[:at] + garbage + good[at + cut :]
    for header_length in (None,) if is_in_json else (str(len(head)), str(len(head) + len(garbage) - cut)):
        with suppress(InvalidRequest):
            for tensor in decode_request(body, header_length, TEXTS).inputs.values():
                assert all(type(element) is bytes for element in tensor.ravel().tolist())


def hostile(seed: int) -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Good requests of every dialect, damaged in a few ways; the same for the same seed."""
    chance = random.Random(seed)
    rows = ROWS.tolist()
    good: list[tuple[str, bytes, dict[str, str]]] = [
        ("/v2/models/adder/infer", GOOD, {}),
        ("/v2/models/adder/infer", HEAD + ROWS.tobytes(), {HEADER_LENGTH: str(len(HEAD))}),
        ("/v2/models/adder/infer", ROWS.tobytes(), {HEADER_LENGTH: "0"}),
        ("/v2/models/adder/infer", gzip.compress(GOOD, mtime=0), {"Content-Encoding": "gzip"}),
        ("/v1/models/adder:predict", json.dumps({"instances": [{"a": row} for row in rows]}).encode(), {}),
        ("/v1/models/adder/labels/live:predict", json.dumps({"inputs": {"a": rows}}).encode(), {}),
        ("/v1/models/adder:classify", b'{"examples": [{"a": 1}]}', {}),
        ("/predictions/adder", blobs.save({"a": ROWS}), {}),
        ("/predictions/adder/1", json.dumps(rows).encode(), {"Content-Type": "application/json"}),
        ("/v2/repository/index", b'{"ready": true}', {}),
        ("/v2/repository/models/adder/load", b'{"parameters": {"version": 1}}', {}),
    ]
    for _ in range(REQUESTS):
        path, body, headers = chance.choice(good)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(body) + 1)
            cut = min(len(body) - at, int(chance.expovariate(1 / 6)))
            body = body[:at] + chance.choice((b"", chance.choice(PIECES), chance.randbytes(cut))) + body[at + cut :]
        if chance.random() < 0.1:
            headers = headers | {HEADER_LENGTH: chance.choice(("0", "-1", "7", "x", "99999999999", str(len(body))))}
        if chance.random() < 0.05:
            headers = headers | {"Content-Encoding": chance.choice(("gzip", "deflate", "br", "gzip,gzip"))}
        if chance.random() < 0.05:
            path = path.replace("adder", chance.choice(("%00", "adder%2F", "a" * 300, "adder:predict", "%ff")))
        yield path, body, headers


@pytest.mark.long
def test_hostile_requests_of_every_dialect(listening: Listening) -> None:
    statuses: set[int] = set()
    with requests.Session() as session:
        for number, (path, body, headers) in enumerate(hostile(seed=1)):
            url = f"http://127.0.0.1:{listening.port}{path}"
            response = session.post(url, data=body, headers=headers, timeout=20)
            assert response.status_code < 500, (number, path, response.text)
            statuses.add(response.status_code)
            if response.status_code >= 400:
                document = response.json()
                assert document.get("error") or document.get("message"), (number, path)
    assert {200, 400, 404, 415} <= statuses
    listening.assert_well()
