"""The forward pass in plain numpy: what both engines are measured against, and readable enough to be believed."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

_CHUNK_ROWS = 250  # bounds the memory of the convolution's output: 22 MB

Weights = Mapping[str, NDArray[np.float32]]


def load_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read canonical weights as FP32. Raises FileNotFoundError, safetensors.SafetensorError."""
    stored = safetensors.numpy.load(path.read_bytes())
    return {name: tensor.astype(np.float32) for name, tensor in stored.items()}


def logits(weights: Weights, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The network's answer: images FP32 [N,28,28] to logits FP32 [N,10].

    Convolution 3x3 without padding, ReLU, flatten channel first, dense 128, ReLU, dense 10; a convolution of deep
    learning is a correlation: the kernel is not mirrored.
    """
    answers = np.empty((len(images), 10), np.float32)
    for start in range(0, len(images), _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        answers[part] = _logits(weights, images[part])
    return answers


def _logits(weights: Weights, images: NDArray[np.float32]) -> NDArray[np.float32]:
    windows = sliding_window_view(images, (3, 3), axis=(1, 2)).reshape(len(images), 26 * 26, 9)
    kernels = weights["conv.weight"].reshape(32, 9)
    features = (kernels @ windows.transpose(0, 2, 1)).reshape(len(images), 32 * 26 * 26)
    features += np.repeat(weights["conv.bias"], 26 * 26)
    hidden = _relu(features) @ weights["dense.weight"].T + weights["dense.bias"]
    return _relu(hidden) @ weights["logits.weight"].T + weights["logits.bias"]


def _relu(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.maximum(values, np.float32(0))
