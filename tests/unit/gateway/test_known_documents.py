"""Documents that are decoded once give the tensors of every body that follows them."""

import json
from typing import Any

import numpy as np
import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.tensors import Signature, TensorSpec
from gateway.protocols import known_documents, oip
from gateway.protocols.known_documents import KnownDocuments

TWO = Signature((TensorSpec("x", "FP32", (-1, 2)), TensorSpec("n", "INT8", (-1,))), ())
FLAG = Signature((TensorSpec("flag", "BOOL", (-1,)),), ())


def document(*inputs: tuple[str, str, list[int], int], **more: Any) -> bytes:
    described = [
        {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}
        for name, datatype, shape, size in inputs
    ]
    return json.dumps({"inputs": described, **more}).encode()


ROWS = document(("x", "FP32", [2, 2], 16), ("n", "INT8", [2], 2), parameters={"timeout": 5_000_000})


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bodies that were decoded and not known."""
    bodies: list[bytes] = []
    decode = oip.decode_request

    def watched(body: bytes, length: str | None, signature: Signature) -> Any:
        bodies.append(body)
        return decode(body, length, signature)

    monkeypatch.setattr(oip, "decode_request", watched)
    return bodies


def test_the_second_body_is_not_decoded_and_holds_its_own_tensors(decoded: list[bytes]) -> None:
    known = KnownDocuments()
    for first in (1.0, 5.0):
        x, n = np.array([[first, 2], [3, 4]], np.float32), np.array([first, -1], np.int8)
        got = known.decode(ROWS + x.tobytes() + n.tobytes(), str(len(ROWS)), TWO)
        np.testing.assert_array_equal(got.inputs["x"], x)
        np.testing.assert_array_equal(got.inputs["n"], n)
        assert got.asked.timeout_s == 5
    assert len(decoded) == 1


@pytest.mark.parametrize("change", [-1, 1])
def test_data_of_another_length_is_refused_as_ever(change: int) -> None:
    known = KnownDocuments()
    known.decode(ROWS + bytes(18), str(len(ROWS)), TWO)
    with pytest.raises(InvalidRequest):
        known.decode(ROWS + bytes(18 + change), str(len(ROWS)), TWO)


def test_another_signature_is_held_against_the_document(decoded: list[bytes]) -> None:
    known = KnownDocuments()
    known.decode(ROWS + bytes(18), str(len(ROWS)), TWO)
    known.decode(ROWS + bytes(18), str(len(ROWS)), Signature(TWO.inputs, ()))  # an equal one is as good
    assert len(decoded) == 1
    with pytest.raises(InvalidRequest, match="expected shape"):
        known.decode(ROWS + bytes(18), str(len(ROWS)), Signature((TensorSpec("x", "FP32", (-1, 3)),), ()))


def test_what_must_be_looked_at_each_time_is_not_remembered(decoded: list[bytes]) -> None:
    known = KnownDocuments()
    flags = document(("flag", "BOOL", [2], 2))
    known.decode(flags + b"\0\1", str(len(flags)), FLAG)
    with pytest.raises(InvalidRequest, match="0 and 1 for BOOL"):
        known.decode(flags + b"\0\2", str(len(flags)), FLAG)
    named = document(("x", "FP32", [1, 2], 8), ("n", "INT8", [1], 1), id="7")
    for _ in range(2):
        assert known.decode(named + bytes(9), str(len(named)), TWO).asked.id == "7"
    assert len(decoded) == 4


def test_only_so_many_are_remembered(decoded: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_documents, "_MOST", 2)
    known = KnownDocuments()
    for rows in (1, 2, 3, 3, 2, 1):
        sent = document(("x", "FP32", [rows, 2], 8 * rows), ("n", "INT8", [rows], rows))
        known.decode(sent + bytes(9 * rows), str(len(sent)), TWO)
    assert len(decoded) == 4, "the first was forgotten"
