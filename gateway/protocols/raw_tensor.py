"""Tensors as both transports of the Open Inference Protocol announce them, and their elements as raw bytes.

Raw bytes are little-endian and row-major (the protocol's "raw_input_contents", Triton's binary tensor extension).
"""

import math
from collections.abc import Sequence

import numpy as np

from gateway.core.errors import InvalidRequest
from gateway.core.tensors import DTYPES, Tensor, TensorSpec, count_elements

MAX_RANK = 64  # numpy's
MAX_DIMENSION = 2**31 - 1
_ADDRESSABLE_BYTES = 2**63


def check_announced(name: str, datatype: str, shape: Sequence[int], spec: TensorSpec) -> None:
    """Hold what is announced against the signature, before any data is read. Raises InvalidRequest."""
    if datatype not in DTYPES:
        raise InvalidRequest(f"input {name!r}: expected a datatype of {', '.join(DTYPES)}, got {datatype!r}")
    if len(shape) > MAX_RANK or any(not 0 <= size <= MAX_DIMENSION for size in shape):
        raise InvalidRequest(
            f"input {name!r}: expected at most {MAX_RANK} sizes of 0 to {MAX_DIMENSION}, got shape {str(shape)[:80]}"
        )
    # numpy refuses a tensor without elements, too, when its other sizes would take more than can be addressed.
    if math.prod(filter(None, shape)) * DTYPES[datatype].itemsize >= _ADDRESSABLE_BYTES:
        raise InvalidRequest(f"input {name!r}: shape {str(list(shape))[:80]} is too large")
    spec.check(datatype, tuple(shape))


def raw_size(datatype: str, shape: Sequence[int]) -> int:
    """How many bytes a tensor takes."""
    return count_elements(tuple(shape)) * DTYPES[datatype].itemsize


def decode_raw(name: str, data: bytes | memoryview, datatype: str, shape: Sequence[int]) -> Tensor:
    """A read-only tensor on `data`, which has the size of `raw_size`. Raises InvalidRequest: no BOOL but 0 and 1."""
    tensor = np.frombuffer(data, DTYPES[datatype])
    if datatype == "BOOL" and tensor.view(np.uint8).max(initial=0) > 1:
        raise InvalidRequest(f"input {name!r}: expected bytes 0 and 1 for BOOL")
    return tensor.reshape(tuple(shape))
