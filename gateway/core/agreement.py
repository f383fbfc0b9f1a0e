"""Whether two answers to the same question agree: one engine's with the golden one, or one engine's with the other's.

Rules: pure. The first answer is the right one; how far the second may be off is said by a tolerance, everywhere the
same. Must not know who asked, nor what follows from an answer that is off.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from gateway.core.tensors import BFLOAT16, Tensor, widen

_BFLOAT16_EPSILON = 2.0**-7


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an answer may be off: |answer - right| <= atol + rtol * |right|, `atol` in units of the output."""

    atol: float = 1e-3
    rtol: float = 1e-3

    def __str__(self) -> str:
        return f"{self.atol:g} + {self.rtol:g} of the value"


def find_difference(right: Mapping[str, Tensor], answer: Mapping[str, Tensor], tolerance: Tolerance) -> str:
    """What is wrong with `answer`, outputs by name; "" when each has the name, dtype, shape and values it must have.

    NaN equals NaN; outputs that are no floating-point numbers must be equal. BF16 may always be off by the distance of
    two neighbours, for so much comes of rounding alone.
    """
    if set(right) != set(answer):
        return f"expected outputs {sorted(right)}, got {sorted(answer)}"
    for name, wanted in right.items():
        got = answer[name]
        if got.shape != wanted.shape or got.dtype != wanted.dtype:
            return f"{name} is {got.dtype} {list(got.shape)}, expected {wanted.dtype} {list(wanted.shape)}"
        if not _is_float(wanted):
            if not np.array_equal(got, wanted):
                return f"{name} differs"
            continue
        allowed = tolerance
        if wanted.dtype == BFLOAT16:
            wanted, got = widen(wanted), widen(got)
            allowed = replace(tolerance, rtol=max(tolerance.rtol, _BFLOAT16_EPSILON))
        if not np.allclose(got, wanted, rtol=allowed.rtol, atol=allowed.atol, equal_nan=True):
            return f"{name} differs by {_apart(wanted, got):.3g}, allowed are {allowed}"
    return ""


def max_abs_diff(right: Mapping[str, Tensor], answer: Mapping[str, Tensor]) -> float | None:
    """The largest difference over all floating-point outputs, in their units; None when none can be compared.

    A number and a NaN are infinitely far apart.
    """
    largest: float | None = None
    for name, tensor in right.items():
        other = answer.get(name)
        if other is None or other.shape != tensor.shape or not _is_float(tensor):
            continue
        if tensor.size:
            apart = _apart(widen(tensor), widen(other))
            largest = apart if largest is None else max(largest, apart)
    return largest


def _is_float(tensor: Tensor) -> bool:
    return tensor.dtype == BFLOAT16 or np.issubdtype(tensor.dtype, np.floating)


def _apart(right: Tensor, other: Tensor) -> float:
    """The largest difference of two tensors of one shape with at least one element; equal values and NaNs have none."""
    left, other = right.astype(np.float64), other.astype(np.float64)
    is_same = (left == other) | (np.isnan(left) & np.isnan(other))
    with np.errstate(invalid="ignore"):
        apart = np.where(is_same, 0.0, np.abs(left - other))
    return float(np.max(np.where(np.isnan(apart), np.inf, apart)))
