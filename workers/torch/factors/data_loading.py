"""Images a second of DataLoader: `python -m workers.torch.factors.data_loading`."""

import sys
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from contracts.findings import Finding
from workers.factors.loading import BATCH, as_split, make_images, measure_loading
from workers.factors.task import Task, run_task
from workers.mnist.training import Recipe
from workers.torch.train import batches

Pair = tuple[torch.Tensor, int]


class Digits(Dataset[Pair]):
    """Bytes in memory; one image at a time becomes a tensor of floats."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self._images = images
        self._labels = labels

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Pair:
        return torch.from_numpy(self._images[index]).float() / 255, int(self._labels[index])


def findings(task: Task) -> Iterator[Finding]:
    """By the number of worker processes, and the repository's own loop."""
    images, labels = make_images(task)
    digits, split, recipe = Digits(images, labels), as_split(images, labels), Recipe(1, 0, 0.001, BATCH)
    alone = DataLoader(digits, batch_size=BATCH, shuffle=True)
    helped = DataLoader(digits, batch_size=BATCH, shuffle=True, num_workers=2, persistent_workers=True)
    loaders = {
        "DataLoader, in the same process": lambda: alone,
        "DataLoader, 2 worker processes": lambda: helped,
        "own loop (workers/torch/train.py)": lambda: batches(split, recipe, np.random.default_rng(0)),
    }
    return measure_loading(task, loaders, len(images))


if __name__ == "__main__":
    sys.exit(run_task("workers.torch.factors.data_loading", findings))
