"""Numbers in a model's datatypes: what becomes what, and what is left for the gateway to refuse."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from contracts.bfloat16 import BFLOAT16, widen
from twinserve.fitting import fit


def fitted(tensor: Any, datatype: str) -> Any:
    made = fit({"x": tensor}, {"inputs": [{"name": "x", "datatype": datatype}]})
    return made and made["x"]


@pytest.mark.parametrize(
    ("tensor", "datatype", "dtype"),
    [
        ([0.1, float("nan"), float("inf")], "FP32", np.float32),
        ([0.1], "FP16", np.float16),
        (np.ones(2, np.float32), "FP64", np.float64),
        ([1, 2**24], "FP32", np.float32),
        ([-128, 127], "INT8", np.int8),
        ([True, False], "UINT8", np.uint8),
        ([], "FP32", np.float32),
        (np.zeros((0, 4), np.int32), "INT64", np.int64),
    ],
)
def test_what_is_held_is_cast(tensor: Any, datatype: str, dtype: Any) -> None:
    made = fitted(tensor, datatype)
    assert made.dtype == dtype
    np.testing.assert_array_equal(made, np.asarray(tensor).astype(dtype))


@pytest.mark.parametrize("tensor", [[1.0, 1.004, float("inf")], [1, 256]])
def test_bf16(tensor: Any) -> None:
    made = fitted(tensor, "BF16")
    assert made.dtype == BFLOAT16
    expected = np.asarray(tensor, np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(widen(made), expected)


@pytest.mark.parametrize(
    ("tensor", "datatype"),
    [
        ([1e300], "FP32"),
        ([1e39], "BF16"),
        ([257], "BF16"),
        ([2**24 + 1], "FP32"),
        ([128], "INT8"),
        ([-1], "UINT64"),
        ([1.0], "INT64"),
        (["1"], "FP32"),
        ([1], "BYTES"),
        ([1], "BOOL"),
        (np.ones(1, ml_dtypes.bfloat16), "FP32"),
        (np.ones(1, np.complex64), "FP32"),
    ],
)
def test_what_is_not_held_is_left(tensor: Any, datatype: str) -> None:
    assert fitted(tensor, datatype) is None


def test_only_what_differs_is_changed() -> None:
    metadata = {"inputs": [{"name": "x", "datatype": "FP32"}, {"name": "y", "datatype": "INT64"}]}
    same, unknown = np.ones(1, np.int64), [1.5]
    made = fit({"x": [1.0], "y": same, "z": unknown}, metadata)
    assert made is not None
    assert (made["y"] is same, made["z"] is unknown) == (True, True)
    assert fit({"y": same}, metadata) is None
