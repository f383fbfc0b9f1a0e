"""safetensors: named tensors as TorchServe's handler takes and gives them.

As that package's own functions for numpy, and BF16 beside, which numpy lacks and they therefore do not read. BYTES have
no place in the format.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from contracts.bfloat16 import BFLOAT16

_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype("u1"),
    "U16": np.dtype("<u2"),
    "U32": np.dtype("<u4"),
    "U64": np.dtype("<u8"),
    "I8": np.dtype("i1"),
    "I16": np.dtype("<i2"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "BF16": BFLOAT16,
}


class BadBlob(ValueError):
    """Bytes are no safetensors, or tensors cannot be written as such; the message says why."""


def encode(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """A blob of these tensors. Raises BadBlob for BYTES."""
    in_order = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    kinds = {tensor.dtype.kind for tensor in in_order.values()}
    if "O" in kinds:
        raise BadBlob("safetensors has no BYTES")
    if "V" not in kinds:
        return safetensors.numpy.save(in_order)
    described = {
        name: safetensors.TensorSpec(
            dtype="bfloat16" if tensor.dtype == BFLOAT16 else tensor.dtype.name,
            shape=tensor.shape,
            data_ptr=tensor.ctypes.data,
            data_len=tensor.nbytes,
        )
        for name, tensor in in_order.items()
    }
    return bytes(safetensors.serialize(described))


def decode(blob: bytes) -> dict[str, NDArray[Any]]:
    """The tensors of a blob, read-only. Raises BadBlob."""
    try:
        return {
            name: np.frombuffer(found["data"], _DTYPES[found["dtype"]]).reshape(found["shape"])
            for name, found in safetensors.deserialize(blob)  # type: ignore[no-untyped-call]
        }
    except KeyError as error:
        raise BadBlob(f"a tensor is {error.args[0]}, which is none of {', '.join(_DTYPES)}") from error
    except (safetensors.SafetensorError, ValueError, TypeError, AttributeError) as error:
        raise BadBlob(str(error)) from error
