"""Images a second of a framework's loader: the same bytes, the same work on each image, the same batches."""

import functools
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized

import numpy as np
from numpy.typing import NDArray

from contracts.findings import Finding
from workers.factors.task import Task, attempt
from workers.mnist import Split

BATCH = 32
IMAGES, QUICK_IMAGES = 60_000, 10_000
EPOCHS = 3

Epoch = Callable[[], Iterable[tuple[Sized, Sized]]]
"""Begins an epoch of batches: images and labels."""


def make_images(task: Task) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Random bytes [N,28,28] and labels [N] as many as MNIST has: what is on an image does not change its cost."""
    generator = np.random.default_rng(0)
    count = QUICK_IMAGES if task.is_quick else IMAGES
    return generator.integers(0, 256, (count, 28, 28), np.uint8), generator.integers(0, 10, count)


def as_split(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Split:
    """As the training programs have them in memory."""
    return Split(images.astype(np.float32) / np.float32(255), labels)


def measure_loading(task: Task, loaders: Mapping[str, Epoch], images: int) -> Iterator[Finding]:
    """One finding a loader; nothing is done with what it loads."""
    epochs = 1 if task.is_quick else EPOCHS
    how = f"{images} images of 28x28 bytes, shuffled, to floats one by one, batches of {BATCH}; "
    for name, epoch in loaders.items():
        own = how if "own loop" not in name else f"{images} images in batches of {BATCH}, shuffled and moved by numpy; "
        timed = f"{own}median of {epochs} whole epochs, after one batch that does not count"
        yield attempt(name, "images/s", timed, functools.partial(_rate, epoch, epochs, images))


def _rate(epoch: Epoch, epochs: int, images: int) -> float:
    next(iter(epoch()))
    return statistics.median(_once(epoch, images) for _ in range(epochs))


def _once(epoch: Epoch, images: int) -> float:
    started = time.perf_counter()
    seen = sum(len(labels) for _, labels in epoch())
    if seen != images:
        raise ValueError(f"an epoch had {seen} images, expected {images}")
    return images / (time.perf_counter() - started)
