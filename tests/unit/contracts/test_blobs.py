"""Blobs against the safetensors package, which is the witness of both directions."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from contracts import blobs
from contracts.bfloat16 import BFLOAT16, narrow

ONE = {"images": np.arange(6, dtype=np.float32).reshape(1, 2, 3)}
DTYPES = ("?", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8")
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=4).filter(lambda name: name != "__metadata__")


def filled(dtype: str, shape: list[int]) -> NDArray[Any]:
    return np.arange(1, 1 + int(np.prod(shape)), dtype="u1").reshape(shape).astype(dtype)


ARRAYS = st.builds(filled, st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3))


@settings(deadline=None)
@given(st.dictionaries(NAMES, ARRAYS, max_size=6))
def test_writes_and_reads_as_the_package_does(tensors: dict[str, NDArray[Any]]) -> None:
    blob = safetensors.numpy.save(tensors)
    for _ in range(2):  # the second time from memory
        assert blobs.encode(tensors) == blob
        found = blobs.decode(blob)
        assert set(found) == set(tensors)
        for name, tensor in tensors.items():
            assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
            assert found[name].tobytes() == tensor.tobytes()
            assert not found[name].flags.writeable


@settings(deadline=None)
@given(st.data(), st.binary(min_size=1, max_size=3))
def test_refuses_what_the_package_refuses(data: st.DataObject, bad: bytes) -> None:
    """Also when it has just read the same header with other data."""
    blob = blobs.encode(ONE)
    blobs.decode(blob)
    at = data.draw(st.integers(0, len(blob)))
    wrong = data.draw(
        st.sampled_from([blob[:at], blob[:at] + bad + blob[at:], blob[:at] + bad + blob[at + len(bad) :]])
    )
    try:
        expected = safetensors.numpy.load(wrong)
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError):
        with pytest.raises(blobs.BadBlob):
            blobs.decode(wrong)
        return
    found = blobs.decode(wrong)
    assert {name: (t.shape, t.tobytes()) for name, t in found.items()} == {
        name: (t.shape, t.tobytes()) for name, t in expected.items()
    }


def test_bf16_lies_among_the_tensors_of_two_bytes() -> None:
    tensors = {"b": narrow(np.array([1.5, -2])), "a": np.ones(1, np.float32), "c": np.ones(1, np.float16)}
    kinds = {"b": "bfloat16", "a": "float32", "c": "float16"}
    blob = safetensors.serialize(
        {
            name: safetensors.TensorSpec(
                dtype=kinds[name], shape=tensor.shape, data_ptr=tensor.ctypes.data, data_len=tensor.nbytes
            )
            for name, tensor in tensors.items()
        }
    )
    assert blobs.encode(tensors) == blob
    assert blobs.encode({**tensors, "b": tensors["b"].view(ml_dtypes.bfloat16)}) == blob
    found = blobs.decode(bytes(blob))
    assert found["b"].dtype == BFLOAT16
    assert found["b"].tobytes() == tensors["b"].tobytes()


def test_pieces_are_the_tensors_themselves() -> None:
    _, piece = blobs.encode_pieces(ONE)
    assert np.shares_memory(np.frombuffer(piece, np.float32), ONE["images"])
    blob = blobs.encode(ONE)
    assert np.shares_memory(np.frombuffer(blob, np.uint8), blobs.decode(blob)["images"])


def test_what_does_not_lie_in_row_major_order_is_written_in_it() -> None:
    tensor = np.asfortranarray(ONE["images"][:, ::-1])
    assert blobs.encode({"images": tensor}) == safetensors.numpy.save({"images": np.ascontiguousarray(tensor)})


def with_header(header: bytes, data: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def test_tensors_that_another_writer_packed_askew_come_straight() -> None:
    header = (
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}}'
    )
    found = blobs.decode(with_header(header, b"\x01" + np.float32(2).tobytes()))
    assert (found["a"][0], found["b"][0]) == (1, 2)
    assert found["b"].flags.aligned


@pytest.mark.parametrize(("dtype", "message"), [("O", "no BYTES"), ("c16", "no complex128"), (">f4", "no >f4")])
def test_what_the_format_lacks_is_refused(dtype: str, message: str) -> None:
    with pytest.raises(blobs.BadBlob, match=message):
        blobs.encode({"x": np.zeros(1, dtype)})


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b'{"a":{"dtype":"F8_E5M2","shape":[1],"data_offsets":[0,1]}}', "a tensor is F8_E5M2, which is none of"),
        (b'{"a":{"dtype":"U8","shape":[%s1],"data_offsets":[0,1]}}' % (b"1," * 64), "dimension"),
        (b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":%s}}' % (b"1" * 5000), "out of range"),
        (b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":%s1%s}}' % (b"[" * 900, b"]" * 900), "recursion"),
    ],
)
def test_what_cannot_be_read_here_is_refused(header: bytes, message: str) -> None:
    with pytest.raises(blobs.BadBlob, match=message):
        blobs.decode(with_header(header, b"\x01"))


def test_many_headers_are_not_remembered_for_ever() -> None:
    for rows in range(2 * blobs._MOST_LAYOUTS):
        blobs.decode(blobs.encode({"x": np.zeros(rows, np.uint8)}))
    assert len(blobs._layouts) <= blobs._MOST_LAYOUTS
