"""Tensors held against a signature: names, datatypes, shapes, and one number of rows."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from contracts import byte_strings
from contracts.bfloat16 import BFLOAT16
from contracts.manifest import TensorSpec

_ODD = {"BYTES": byte_strings.BYTES, "BF16": BFLOAT16}

T = TypeVar("T")
Tensors = Mapping[str, NDArray[Any]]


def dtype_of(spec: TensorSpec) -> np.dtype[Any]:
    """The numpy dtype of a tensor; see dtype_named."""
    return dtype_named(spec.datatype)


def dtype_named(datatype: str) -> np.dtype[Any]:
    """The numpy dtype of a datatype: both name them alike but for one prefix, FP32 is float32.

    BYTES are objects, every one a `bytes`; BF16 is contracts.bfloat16's. Raises TypeError for a name that is none.
    """
    if datatype in _ODD:
        return _ODD[datatype]
    return np.dtype(datatype.lower().replace("fp", "float"))


def has_rows(spec: TensorSpec) -> bool:
    """Whether the first dimension counts the rows of a batch."""
    return spec.shape[:1] == (-1,)


def find_fault(tensors: Tensors, specs: Sequence[TensorSpec]) -> str:
    """What keeps `tensors` from being those of `specs`, as a sentence without its subject; "" when nothing does."""
    names = sorted(spec.name for spec in specs)
    if sorted(tensors) != names:
        return f"are {sorted(tensors)}, expected {names}"
    for spec in specs:
        tensor = tensors[spec.name]
        pairs = zip(spec.shape, tensor.shape, strict=False)
        does_fit = len(spec.shape) == tensor.ndim and all(want in (-1, got) for want, got in pairs)
        if tensor.dtype != dtype_of(spec) or not does_fit:
            came, expected = f"{tensor.dtype} {list(tensor.shape)}", f"{dtype_of(spec)} {list(spec.shape)}"
            return f"have {spec.name} as {came}, expected {expected}"
    rows = {spec.name: len(tensors[spec.name]) for spec in specs if has_rows(spec)}
    if len(set(rows.values())) > 1:
        return f"differ in their number of rows: {rows}"
    if 0 in rows.values():
        return "have no rows"
    return ""


def rows_of(tensors: Tensors, specs: Sequence[TensorSpec], otherwise: T) -> int | T:
    """The number of rows of tensors without fault; `otherwise` when none of them has rows."""
    return next((len(tensors[spec.name]) for spec in specs if has_rows(spec)), otherwise)
