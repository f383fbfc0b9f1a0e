"""safetensors: named tensors as TorchServe's handler takes and gives them.

What that package's own functions write and read, and BF16 beside, which numpy lacks; small tensors in a fraction of
their time, large ones without a copy. BYTES have no place in the format
(https://github.com/huggingface/safetensors#format).
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
import safetensors
from numpy.typing import NDArray

from contracts.bfloat16 import BFLOAT16, is_bfloat16

# From the last to the first in a blob, as the package puts them, so that every tensor is aligned.
_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "I16": np.dtype("<i2"),
    "U16": np.dtype("<u2"),
    "F16": np.dtype("<f2"),
    "BF16": BFLOAT16,
    "I32": np.dtype("<i4"),
    "U32": np.dtype("<u4"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
    "U64": np.dtype("<u8"),
}
_CODES = tuple(_DTYPES)
_RANKS = {dtype: rank for rank, dtype in enumerate(_DTYPES.values())}
_LENGTH_BYTES = 8
"""Of the number a blob begins with, the length of the header; the header's own is a multiple of it."""

_MOST_LAYOUTS = 256
_LONGEST_REMEMBERED_BYTES = 1024


class BadBlob(ValueError):
    """Bytes are no safetensors, or tensors cannot be written as such; the message says why."""


class _Part(NamedTuple):
    """Where one tensor lies in a blob."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int


_layouts: dict[tuple[bytes, int], tuple[_Part, ...]] = {}
"""What the package read from headers that came, with the blob's length: a model's are few, and come again and again."""


def encode(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """A blob of these tensors. Raises BadBlob for BYTES and whatever else the format has no name for."""
    return b"".join(encode_pieces(tensors))


def encode_pieces(tensors: Mapping[str, NDArray[Any]]) -> list[bytes | memoryview]:
    """The same in pieces that follow each other: the header, then the tensors themselves, which must not change."""
    header, order = _header(tuple([(name, tensor.dtype, tensor.shape) for name, tensor in tensors.items()]))
    pieces: list[bytes | memoryview] = [header]
    # `reshape` copies only what does not lie in row-major order.
    pieces.extend(tensors[name].reshape(-1).view(np.uint8).data for name in order)
    return pieces


@lru_cache(maxsize=_MOST_LAYOUTS)
def _header(described: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]) -> tuple[bytes, tuple[str, ...]]:
    """A blob's bytes before its first tensor, and the order in which the tensors follow."""
    ranked = sorted((-_rank(dtype), name, dtype.itemsize, shape) for name, dtype, shape in described)
    entries: dict[str, dict[str, Any]] = {}
    end = 0
    for rank, name, itemsize, shape in ranked:
        begin, end = end, end + prod(shape) * itemsize
        entries[name] = {"dtype": _CODES[-rank], "shape": shape, "data_offsets": (begin, end)}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text, tuple(entries)


def _rank(dtype: np.dtype[Any]) -> int:
    if is_bfloat16(dtype):
        dtype = BFLOAT16
    if dtype not in _RANKS:
        raise BadBlob(f"safetensors has no {'BYTES' if dtype.kind == 'O' else dtype}")
    return _RANKS[dtype]


def decode(blob: bytes) -> dict[str, NDArray[Any]]:
    """The tensors of a blob: views of it, read-only. Raises BadBlob."""
    header_end = _LENGTH_BYTES + int.from_bytes(blob[:_LENGTH_BYTES], "little")
    if header_end > _LONGEST_REMEMBERED_BYTES:
        return _views(blob, _read_layout(blob, header_end))
    key = blob[:header_end], len(blob)
    layout = _layouts.get(key)
    if layout is None:
        layout = _read_layout(blob, header_end)
        if len(_layouts) >= _MOST_LAYOUTS:
            _layouts.clear()
        _layouts[key] = layout
    return _views(blob, layout)


def _views(blob: bytes, layout: tuple[_Part, ...]) -> dict[str, NDArray[Any]]:
    tensors: dict[str, NDArray[Any]] = {}
    for name, dtype, shape, begin in layout:
        tensor: NDArray[Any] = np.ndarray(shape, dtype, blob, begin)
        # Other writers may pack tensors so that they lie askew, which not everything that reads arrays can bear.
        tensors[name] = tensor if tensor.flags.aligned else tensor.copy()
    return tensors


def _read_layout(blob: bytes, header_end: int) -> tuple[_Part, ...]:
    """What the package finds in a blob, if it is one; only where, it does not say. Raises BadBlob."""
    try:
        found = safetensors.deserialize(blob)  # type: ignore[no-untyped-call]
        entries = json.loads(blob[_LENGTH_BYTES:header_end])
        layout = tuple(
            _Part(name, _DTYPES[part["dtype"]], tuple(part["shape"]), header_end + entries[name]["data_offsets"][0])
            for name, part in found
        )
        _views(blob, layout)  # numpy has limits of its own
        return layout
    except KeyError as error:
        raise BadBlob(f"a tensor is {error.args[0]}, which is none of {', '.join(_DTYPES)}") from error
    except (safetensors.SafetensorError, ValueError, TypeError, AttributeError) as error:
        raise BadBlob(str(error)) from error
