"""Repeated numbers by their wire form: whatever protobuf reads and writes one by one, we do at once."""

import numpy as np
import pytest

from gateway.core.tensors import Tensor
from gateway.protocols.rpc.packed import read_packed, write_packed
from tests.unit.gateway.rpc import INFERENCE

FIELDS = {
    "fp32_contents": np.float32,
    "fp64_contents": np.float64,
    "bool_contents": np.bool_,
    "int_contents": np.int32,
    "int64_contents": np.int64,
    "uint_contents": np.uint32,
    "uint64_contents": np.uint64,
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("count", [0, 1, 127, 128, 20_000])
def test_both_directions(name: str, count: int) -> None:
    values: Tensor = (np.arange(count) % 251 - (0 if name.startswith(("uint", "bool")) else 100)).astype(FIELDS[name])
    one_by_one = INFERENCE.InferTensorContents()
    getattr(one_by_one, name).extend(values.tolist())
    np.testing.assert_array_equal(read_packed(one_by_one, name, values.dtype), values)
    at_once = INFERENCE.InferTensorContents()
    write_packed(at_once, name, values)
    assert at_once == one_by_one


@pytest.mark.parametrize("count", [1, 10_000])
def test_writing_appends_and_reading_is_of_one_field_alone(count: int) -> None:
    contents = INFERENCE.InferTensorContents(
        fp32_contents=[1] * count, fp64_contents=[4, 5], bytes_contents=[b"x" * 50]
    )
    contents.MergeFromString(b"\xf8\x07\x01")  # a field that nobody knows
    write_packed(contents, "fp32_contents", np.array([[2, 3]], np.float32))
    before = contents.SerializeToString()
    assert read_packed(contents, "fp32_contents", np.dtype(np.float32)).tolist() == [1] * count + [2, 3]
    assert contents.SerializeToString() == before


def test_numbers_too_large_for_the_type() -> None:
    contents = INFERENCE.InferTensorContents(int_contents=[1, 300])
    with pytest.raises(OverflowError):
        read_packed(contents, "int_contents", np.dtype(np.int8))
