"""Parity: both engines' artifacts compute the function that the weights describe. Pure comparison, nothing is run."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from contracts.manifest import Parity

TOLERANCE = 1e-4
"""Largest difference of a logit that rounding in another order of summation explains."""

Output = NDArray[np.float32]


class ParityError(Exception):
    """An engine's artifact does not compute the reference; the message says which one, where and by how much."""


def certify(reference: Output, outputs: Mapping[str, Output], tolerance: float = TOLERANCE) -> Parity:
    """Compare each engine's output, FP32 [N,classes], with the reference of the same shape.

    Returns the certificate. Raises ParityError naming the engine, the difference and the first image that differs.
    """
    differences = {engine: _max_abs_diff(engine, reference, output, tolerance) for engine, output in outputs.items()}
    return Parity(images=len(reference), tolerance=tolerance, max_abs_diff=differences)


def _max_abs_diff(engine: str, reference: Output, output: Output, tolerance: float) -> float:
    if output.shape != reference.shape or output.dtype != reference.dtype:
        came = f"{output.dtype} {list(output.shape)}"
        raise ParityError(f"{engine} answers {came}, the reference is {reference.dtype} {list(reference.shape)}")
    if not len(reference):
        raise ParityError("no image to compare: parity would be vacuous")
    per_image = np.abs(output - reference).max(axis=1)
    largest = float(per_image.max())
    # Written so that NaN, which compares false with everything, counts as a difference.
    is_far = ~(per_image <= tolerance)
    if is_far.any():
        first = int(is_far.argmax())
        raise ParityError(
            f"{engine} differs from the reference by up to {largest:g}, more than {tolerance:g}; "
            f"first on image {first}, by {per_image[first]:g}"
        )
    is_other = output.argmax(axis=1) != reference.argmax(axis=1)
    if is_other.any():
        first = int(is_other.argmax())
        raise ParityError(
            f"{engine} picks class {output[first].argmax()} instead of {reference[first].argmax()} on image {first}, "
            f"though it differs by {largest:g} at most"
        )
    return largest
