"""BYTES tensors: numpy object arrays whose elements are `bytes`, and their form on the wire.

The Open Inference Protocol's binary form is every element in row-major order, each after its length in four
little-endian bytes (Triton, "Binary Tensor Data Extension").
"""

from collections.abc import Sequence
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

BYTES = np.dtype(np.object_)
LENGTH_SIZE = 4

_LENGTH = Struct("<I")


def array_of(elements: Sequence[bytes], shape: Sequence[int]) -> NDArray[Any]:
    """The elements, as many as the shape has, as a tensor."""
    array = np.empty(len(elements), BYTES)
    array[:] = elements
    return array.reshape(tuple(shape))


def from_text(tensor: NDArray[Any]) -> NDArray[Any]:
    """Text, as UTF-8, and numpy's own byte strings as BYTES; an array of anything else as it is.

    Raises ValueError for an object that is neither str nor bytes.
    """
    if tensor.dtype.kind not in "OUS":
        return tensor
    elements = [element.encode() if isinstance(element, str) else element for element in tensor.ravel().tolist()]
    strange = next((element for element in elements if not isinstance(element, bytes)), None)
    if strange is not None:
        raise ValueError(f"expected str and bytes in an array of objects, got {type(strange).__name__}")
    return array_of(elements, tensor.shape)


def encode(tensor: NDArray[Any]) -> bytes:
    """Every element after its length."""
    parts: list[bytes] = []
    for element in tensor.ravel().tolist():
        parts += (_LENGTH.pack(len(element)), element)
    return b"".join(parts)


def decode(data: bytes | memoryview, count: int) -> list[bytes]:
    """The `count` elements that `data` consists of. Raises ValueError when it does not; looks no further then."""
    data = bytes(data)
    if count * LENGTH_SIZE > len(data):
        raise ValueError(f"{count} elements take at least {count * LENGTH_SIZE} bytes, there are {len(data)}")
    elements, at, end = [], 0, len(data)
    for index in range(count):
        start = at + LENGTH_SIZE
        if start > end:
            raise ValueError(f"element {index} has no length: {end - at} bytes are left")
        at = start + int.from_bytes(data[at:start], "little")
        if at > end:
            raise ValueError(f"element {index} says {at - start} bytes, {end - start} are left")
        elements.append(data[start:at])
    if at != end:
        raise ValueError(f"{end - at} bytes follow the {count} elements")
    return elements
