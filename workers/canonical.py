"""The canonical weights: one safetensors file in PyTorch's layout that both frameworks build their network from.

Values are stored in half precision and widened on reading, so that both engines start from the same fp32 numbers.
Beside `<name>.safetensors` lies `<name>.json`, its contracts.manifest.Weights.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from contracts.atomic import write_atomic
from contracts.manifest import Training, Weights, encode_document

SHAPES: Mapping[str, tuple[int, ...]] = {
    "conv.weight": (32, 1, 3, 3),
    "conv.bias": (32,),
    "dense.weight": (128, 32 * 26 * 26),
    "dense.bias": (128,),
    "logits.weight": (10, 128),
    "logits.bias": (10,),
}
"""Tensor shapes by name. `dense.weight` takes the convolution's output flattened channel first (CHW)."""

Tensors = Mapping[str, NDArray[np.float32]]


class BadWeights(ValueError):
    """A weights file is not a canonical one; the message says what was expected and what came."""


def round_to_stored(tensors: Tensors) -> dict[str, NDArray[np.float32]]:
    """The values as a reader of the stored file will see them. Raises BadWeights when half precision overflows."""
    rounded = {}
    for name, tensor in tensors.items():
        with np.errstate(over="ignore"):  # reported below, with the tensor's name
            rounded[name] = tensor.astype(np.float16).astype(np.float32)
        if not np.isfinite(rounded[name]).all():
            raise BadWeights(f"{name} holds values that half precision cannot")
    return rounded


def read_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read a canonical file; every tensor is FP32. Raises BadWeights, FileNotFoundError."""
    try:
        stored = safetensors.numpy.load(path.read_bytes())
    except SafetensorError as error:
        raise BadWeights(f"{path} is not a safetensors file: {error}") from error
    shapes = {name: tensor.shape for name, tensor in stored.items()}
    if shapes != dict(SHAPES):
        raise BadWeights(f"{path} holds {shapes}, expected {dict(SHAPES)}")
    return {name: tensor.astype(np.float32) for name, tensor in stored.items()}


def write_weights(path: Path, tensors: Tensors, training: Training) -> Weights:
    """Write `path` and the record beside it, each wholly or not at all. Raises OSError."""
    # A transposed view, as Keras's kernels come in, must be stored in the order of its own shape.
    blob = safetensors.numpy.save({name: np.ascontiguousarray(tensors[name], np.float16) for name in SHAPES})
    record = Weights(sha256=hashlib.sha256(blob).hexdigest(), training=training)
    write_atomic(path, blob)
    write_atomic(path.with_suffix(".json"), encode_document(record))
    return record
