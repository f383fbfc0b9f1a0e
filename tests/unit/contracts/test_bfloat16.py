"""BF16 in numpy, with ml_dtypes as the witness."""

import ml_dtypes
import numpy as np
import pytest

from contracts.bfloat16 import BFLOAT16, adopt, narrow, widen


def test_rounding_is_that_of_ml_dtypes() -> None:
    bits = np.random.default_rng(5).integers(0, 2**32, 100_000, dtype=np.uint32)
    numbers = np.concatenate([bits.view(np.float32), np.array([0.0, -0.0, np.inf, -np.inf, 3.4e38, 1e-45], np.float32)])
    numbers = numbers[~np.isnan(numbers)]
    theirs = numbers.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(narrow(numbers), theirs.view(BFLOAT16))
    np.testing.assert_array_equal(widen(narrow(numbers)), theirs.astype(np.float32))
    assert np.isnan(widen(narrow(np.array([np.nan, -np.nan])))).all()


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_shapes_stay(shape: tuple[int, ...]) -> None:
    tensor = narrow(np.ones(shape))
    assert (type(tensor), tensor.shape, tensor.dtype) == (np.ndarray, shape, BFLOAT16)
    assert (type(widen(tensor)), widen(tensor).shape) == (np.ndarray, shape)


def test_what_is_taken_for_bf16() -> None:
    theirs = np.ones(3, ml_dtypes.bfloat16)
    assert adopt(theirs).dtype == BFLOAT16
    for other in (np.ones(3, np.float16), np.ones(3, np.uint16), np.zeros(3, "V2"), narrow(theirs)):
        assert adopt(other) is other
