"""Numbers made to fit a model's datatypes, where nothing is lost that the model could have seen.

Python's own numbers are float64 and int64 to numpy, and most models take float32. Floats become any floats, rounded as
numpy does; integers become other numbers that hold them exactly. Floats never become integers.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from contracts.bfloat16 import BFLOAT16, is_bfloat16, narrow, widen
from contracts.oip_bodies import Array
from twinserve.tensors import dtype_named

_BF16_EXACT = 256  # integers up to this


def fit(inputs: Mapping[str, ArrayLike], metadata: Mapping[str, Any]) -> dict[str, ArrayLike] | None:
    """The inputs in the datatypes of the model's OIP metadata; None when no input has to change, or none can."""
    expected = {described["name"]: dtype_named(described["datatype"]) for described in metadata["inputs"]}
    changed: dict[str, Array] = {}
    for name, tensor in inputs.items():
        given = np.asarray(tensor)
        cast = _cast(given, expected[name]) if name in expected and given.dtype != expected[name] else None
        if cast is not None:
            changed[name] = cast
    return {**inputs, **changed} if changed else None


def _cast(tensor: Array, dtype: np.dtype[Any]) -> Array | None:
    """None when the numbers do not survive it, or are no numbers."""
    is_float = dtype.kind == "f" or dtype == BFLOAT16
    if tensor.dtype.kind == "f" and is_float and not is_bfloat16(tensor.dtype):
        with np.errstate(over="ignore"):
            cast = narrow(tensor) if dtype == BFLOAT16 else tensor.astype(dtype)
            stays_finite = np.isfinite(widen(cast)) if dtype == BFLOAT16 else np.isfinite(cast)
        return cast if np.array_equal(stays_finite, np.isfinite(tensor)) else None
    if tensor.dtype.kind not in "biu" or not (is_float or dtype.kind in "iu"):
        return None
    lowest, highest = _range(dtype)
    if tensor.size and not lowest <= int(tensor.min()) <= int(tensor.max()) <= highest:
        return None
    return narrow(tensor) if dtype == BFLOAT16 else tensor.astype(dtype)


def _range(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The least and the greatest integer such that it and all between them are held exactly."""
    if dtype.kind in "iu":
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    most = _BF16_EXACT if dtype == BFLOAT16 else 2 ** (int(np.finfo(dtype).nmant) + 1)
    return -most, most
