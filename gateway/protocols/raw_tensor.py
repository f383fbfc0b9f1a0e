"""Tensors as both transports of the Open Inference Protocol announce them, and their elements as raw bytes.

Raw bytes are little-endian and row-major (the protocol's "raw_input_contents", Triton's binary tensor extension). Of
BYTES every element stands after its length, so that only the data itself tells how long it has to be.
"""

import math
from collections.abc import Sequence

import numpy as np

from contracts import byte_strings
from gateway.core.errors import InvalidRequest
from gateway.core.tensors import DTYPES, Tensor, TensorSpec, check_strings, count_elements

MAX_RANK = 64  # numpy's
MAX_DIMENSION = 2**31 - 1
_ADDRESSABLE_BYTES = 2**63


def check_announced(name: str, datatype: str, shape: Sequence[int], spec: TensorSpec) -> None:
    """Hold what is announced against the signature, before any data is read. Raises InvalidRequest."""
    if datatype not in DTYPES:
        raise InvalidRequest(f"input {name!r}: expected a datatype of {', '.join(DTYPES)}, got {datatype!r}")
    if len(shape) > MAX_RANK or any(not 0 <= size <= MAX_DIMENSION for size in shape):
        raise InvalidRequest(
            f"input {name!r}: expected at most {MAX_RANK} sizes of 0 to {MAX_DIMENSION}, got shape {_shown(shape)}"
        )
    # numpy refuses a tensor without elements, too, when its other sizes would take more than can be addressed.
    if math.prod(filter(None, shape)) * DTYPES[datatype].itemsize >= _ADDRESSABLE_BYTES:
        raise InvalidRequest(f"input {name!r}: shape {_shown(shape)} is too large")
    if datatype == "BYTES":
        check_strings(count_elements(tuple(shape)))
    spec.check(datatype, tuple(shape))


def _shown(shape: Sequence[int]) -> str:
    """A shape as errors quote it; a client may send one of millions of sizes."""
    return str(list(shape[:20]))[:80]


def check_raw_size(name: str, datatype: str, shape: Sequence[int], size: int) -> None:
    """Hold the size of raw data, in bytes, against what was announced. Raises InvalidRequest.

    BYTES have no size but a least one; whether theirs is right shows when they are decoded.
    """
    count = count_elements(tuple(shape))
    if datatype != "BYTES":
        expected = count * DTYPES[datatype].itemsize
        if size != expected:
            raise InvalidRequest(f"input {name!r}: expected {expected} bytes for {datatype}{list(shape)}, got {size}")
    elif size < count * byte_strings.LENGTH_SIZE:
        least = count * byte_strings.LENGTH_SIZE
        raise InvalidRequest(f"input {name!r}: expected at least {least} bytes for BYTES{list(shape)}, got {size}")


def decode_raw(name: str, data: bytes | memoryview, datatype: str, shape: Sequence[int]) -> Tensor:
    """A tensor of `data`, whose size was checked by `check_raw_size`; read-only but for BYTES.

    Raises InvalidRequest: no BOOL but 0 and 1, and lengths of BYTES that do not add up.
    """
    if datatype == "BYTES":
        try:
            elements = byte_strings.decode(data, count_elements(tuple(shape)))
        except ValueError as error:
            raise InvalidRequest(f"input {name!r}: expected BYTES, each after its length: {error}") from error
        return byte_strings.array_of(elements, shape)
    tensor = np.frombuffer(data, DTYPES[datatype])
    check_bools(name, tensor)
    return tensor.reshape(tuple(shape))


def check_bools(name: str, tensor: Tensor) -> None:
    """Raises InvalidRequest for a BOOL that is neither 0 nor 1; what else a tensor holds is as good as it is."""
    if tensor.dtype == np.bool_ and tensor.view(np.uint8).max(initial=0) > 1:
        raise InvalidRequest(f"input {name!r}: expected bytes 0 and 1 for BOOL")


def encode_raw(tensor: Tensor) -> bytes:
    """The elements of a tensor of any datatype."""
    return byte_strings.encode(tensor) if tensor.dtype.hasobject else tensor.tobytes()
