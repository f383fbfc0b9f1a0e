"""BF16 in numpy, which has no such dtype: two bytes an element, the upper half of a float32's.

The dtype is a record of one field, so that it is equal to no other, stacks, splits and is stored like any array, and
needs no package. Arithmetic goes by way of float32, which holds every BF16 exactly.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BFLOAT16 = np.dtype([("bfloat16", "<u2")])
EPSILON = 2.0**-7
"""From 1 to the next BF16, which is how far apart two neighbours are at most, as a share of their size."""

_FOREIGN_NAME = "bfloat16"  # as other packages call their dtype of the same bytes


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Whether these are BF16: ours, or those of another package, as ml_dtypes has them."""
    return dtype == BFLOAT16 or (dtype.name == _FOREIGN_NAME and dtype.itemsize == BFLOAT16.itemsize)


def adopt(tensor: NDArray[Any]) -> NDArray[Any]:
    """The same bytes as BFLOAT16 where they are another package's BF16; any other tensor as it is."""
    return tensor.view(BFLOAT16) if tensor.dtype != BFLOAT16 and is_bfloat16(tensor.dtype) else tensor


def widen(tensor: NDArray[Any]) -> NDArray[np.float32]:
    """BF16 of any kind as float32, exactly."""
    bits = tensor.view("<u2").astype(np.uint32)
    bits <<= 16
    return bits.view(np.float32)


def narrow(tensor: NDArray[Any]) -> NDArray[Any]:
    """Numbers as BFLOAT16, rounded to the nearest, ties to even; NaN stays NaN."""
    wide = np.ascontiguousarray(tensor, np.float32).reshape(np.shape(tensor))
    bits = wide.view(np.uint32)
    rounded = bits + (0x7FFF + (bits >> 16 & 1))
    kept = np.where(np.isnan(wide), bits | 0x400000, rounded)
    kept >>= 16
    return kept.astype("<u2").view(BFLOAT16)
