"""Named, typed, shaped tensors: what a model takes and gives.

Rules: tensors are numpy arrays in row-major order; a signature is immutable; a request is checked against it once,
before it is queued, so that nothing malformed ever reaches a batch. BYTES are arrays of objects, every one a `bytes`;
BF16 are records of two bytes, the upper half of a float32's (numpy has neither). Must not know any wire format.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.core.errors import InvalidRequest

Tensor = NDArray[Any]

BYTES = np.dtype(np.object_)
MOST_STRINGS = 2**17
"""Elements that BYTES tensors of a request may have: each is an object, and what is done to it takes its time."""

BFLOAT16 = np.dtype([("bfloat16", "<u2")])

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BF16": BFLOAT16,
    "BYTES": BYTES,
}
"""numpy's dtype for each datatype of the Open Inference Protocol."""

DATATYPES: Mapping[np.dtype[Any], str] = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One named tensor; -1 in `shape` is a free dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        return DTYPES[self.datatype]

    def zeros(self, shape: Sequence[int]) -> Tensor:
        """A tensor of this datatype and any shape: zeros, or BYTES of no length."""
        return np.full(tuple(shape), b"", BYTES) if self.dtype == BYTES else np.zeros(tuple(shape), self.dtype)

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape fits: same rank, equal in every fixed dimension."""
        if len(shape) != len(self.shape):
            return False
        for want, got in zip(self.shape, shape, strict=True):  # noqa: SIM110  a generator takes thrice as long
            if want != got and want != -1:
                return False
        return True

    def check(self, datatype: str, shape: tuple[int, ...]) -> None:
        """Raises InvalidRequest naming what was expected and what came."""
        if datatype != self.datatype:
            raise InvalidRequest(f"input {self.name!r}: expected datatype {self.datatype}, got {datatype}")
        if not self.admits(shape):
            raise InvalidRequest(
                f"input {self.name!r}: expected shape {list(self.shape)} (-1 is any), got {list(shape)}"
            )

    def __str__(self) -> str:
        return f"{self.name} {self.datatype}{list(self.shape)}"


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives. When every tensor leads with a free dimension, that one counts rows to batch.

    `takes_bytes`: an input is of BYTES, whose elements are Python objects and take their time.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    is_batchable: bool = field(init=False, repr=False)
    takes_bytes: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        is_batchable = all(spec.shape[:1] == (-1,) for spec in (*self.inputs, *self.outputs))
        object.__setattr__(self, "is_batchable", is_batchable)
        object.__setattr__(self, "takes_bytes", any(spec.datatype == "BYTES" for spec in self.inputs))

    def input(self, name: str) -> TensorSpec:
        """Raises InvalidRequest naming what the model takes."""
        for spec in self.inputs:
            if spec.name == name:
                return spec
        raise InvalidRequest(f"unexpected input {name!r}: expected {_names(self.inputs)}")

    def check_inputs(self, inputs: Mapping[str, Tensor]) -> int:
        """Return the number of rows, at least one (1 for a model that is not row-wise).

        Raises InvalidRequest naming what was expected and what came.
        """
        rows = self.count_rows(inputs)
        if rows == 0:
            raise InvalidRequest("expected at least one row, got 0")
        return rows

    def count_rows(self, inputs: Mapping[str, Tensor]) -> int:
        """The same where there may be none."""
        if self.takes_bytes:
            check_strings(sum(tensor.size for tensor in inputs.values() if tensor.dtype == BYTES))
        rows = set()
        for name, tensor in inputs.items():
            spec = self.input(name)
            if tensor.dtype != spec.dtype or not spec.admits(tensor.shape):
                spec.check(DATATYPES.get(tensor.dtype, str(tensor.dtype)), tensor.shape)
            rows.add(tensor.shape[0] if self.is_batchable else 1)
        if len(inputs) < len(self.inputs):
            missing = [spec for spec in self.inputs if spec.name not in inputs]
            raise InvalidRequest(f"missing input: expected {_names(missing)}, got {sorted(inputs) or 'no inputs'}")
        if len(rows) > 1:
            raise InvalidRequest(f"inputs differ in rows: expected one first dimension, got {sorted(rows)}")
        return rows.pop() if rows else 1

    def answer_without_rows(self) -> dict[str, Tensor] | None:
        """The outputs for inputs of no rows, where the signature alone tells their shapes; else None."""
        if not self.is_batchable or any(-1 in spec.shape[1:] for spec in self.outputs):
            return None
        return {spec.name: np.empty((0, *spec.shape[1:]), spec.dtype) for spec in self.outputs}

    def check_requested(self, names: tuple[str, ...]) -> None:
        """Raises InvalidRequest when the client asks for an output the model does not give."""
        known = {spec.name for spec in self.outputs}
        for name in names:
            if name not in known:
                raise InvalidRequest(f"unexpected output {name!r}: expected {_names(self.outputs)}")

    def find_broken_output(self, outputs: Mapping[str, Tensor], rows: int) -> str | None:
        """What an engine's answer has wrong, or None when it is as the signature says."""
        for spec in self.outputs:
            tensor = outputs.get(spec.name)
            if tensor is None:
                return f"no output {spec}, got {sorted(outputs)}"
            if tensor.dtype != spec.dtype or not spec.admits(tensor.shape):
                return f"expected output {spec}, got {DATATYPES.get(tensor.dtype, tensor.dtype)}{list(tensor.shape)}"
            if self.is_batchable and tensor.shape[0] != rows:
                return f"expected {rows} rows of {spec.name!r}, got {tensor.shape[0]}"
        return None


def count_elements(shape: tuple[int, ...]) -> int:
    """Elements of a tensor of this shape, exact however large (Python integers do not overflow)."""
    return math.prod(shape)


def check_strings(count: int) -> None:
    """Raises InvalidRequest for more elements of BYTES than a request may have."""
    if count > MOST_STRINGS:
        raise InvalidRequest(f"expected at most {MOST_STRINGS} elements of BYTES in a request, got {count}")


def count_bytes(tensor: Tensor) -> int:
    """The size of a tensor's elements, those of BYTES included, which `nbytes` counts as pointers."""
    if tensor.dtype != BYTES:
        return tensor.nbytes
    return tensor.nbytes + sum(map(len, tensor.ravel().tolist()))


def widen(tensor: Tensor) -> Tensor:
    """BF16 as float32, which holds every one exactly; any other tensor as it is."""
    if tensor.dtype != BFLOAT16:
        return tensor
    bits = tensor.view("<u2").astype(np.uint32)
    bits <<= 16
    return bits.view(np.float32)


def _names(specs: tuple[TensorSpec, ...] | list[TensorSpec]) -> str:
    return ", ".join(str(spec) for spec in specs)
