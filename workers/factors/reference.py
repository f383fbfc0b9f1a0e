"""What every format is held against: images, and the network's answers to them in numpy and double precision."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from contracts.findings import Finding
from workers.canonical import read_weights
from workers.factors.forwards import Forward, Images
from workers.factors.task import Task, attempt
from workers.mnist import MnistError, load_test_split

ROWS = 250


@dataclass(frozen=True)
class Reference:
    """Images FP32 [N,28,28], where they come from, and the right logits FP64 [N,10]."""

    images: Images
    origin: str
    logits: NDArray[np.float64]


def make_reference(weights: Path, data: Path | None) -> Reference:
    """ROWS test images, or random ones where there is no data set. Raises BadWeights, OSError."""
    images, origin = _images(data)
    return Reference(images, origin, forward(weights, images))


def forward(weights: Path, images: Images) -> NDArray[np.float64]:
    """The forward pass in double precision: any difference is the format's. Raises BadWeights, OSError."""
    tensors = {name: tensor.astype(np.float64) for name, tensor in read_weights(weights).items()}
    windows = sliding_window_view(images.astype(np.float64), (3, 3), axis=(1, 2))
    features = np.einsum("nrcij,kij->nkrc", windows, tensors["conv.weight"][:, 0], optimize=True)
    features += tensors["conv.bias"][:, None, None]
    flat = np.maximum(features, 0).reshape(len(images), -1)
    hidden = np.maximum(flat @ tensors["dense.weight"].T + tensors["dense.bias"], 0)
    answer: NDArray[np.float64] = hidden @ tensors["logits.weight"].T + tensors["logits.bias"]
    return answer


def compare_format(name: str, answer: Callable[[], Forward], reference: Reference) -> Iterator[Finding]:
    """How far a loaded format is from the reference; `answer` loads it. Two findings, or one that says why not."""
    how = f"{len(reference.images)} {reference.origin} against a numpy forward pass in double precision"
    logits: list[NDArray[Any]] = []

    def furthest() -> float:
        logits.append(answer()(reference.images))
        return float(np.abs(logits[0] - reference.logits).max())

    yield attempt(f"{name}: largest difference of a logit", "", how, furthest)
    if logits:
        same = float((logits[0].argmax(1) == reference.logits.argmax(1)).mean() * 100)
        yield Finding(f"{name}: same digit as the reference", how, same, "%")


def reference_of(task: Task) -> Reference:
    """The reference for a task's weights. Raises BadWeights, OSError."""
    return make_reference(task.weights, task.data)


def _images(data: Path | None) -> tuple[Images, str]:
    if data:
        try:
            return load_test_split(data).images[:ROWS], "test images"
        except MnistError:
            pass  # random images show a wrong format as well
    return np.random.default_rng(0).random((ROWS, 28, 28), np.float32), "random images"
