"""Images a second of tf.data: `python -m workers.tf.factors.data_loading`."""

import sys
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from contracts.findings import Finding
from workers.factors.loading import BATCH, as_split, make_images, measure_loading
from workers.factors.task import Task, run_task
from workers.mnist.training import Recipe
from workers.tf.train import batches


def findings(task: Task) -> Iterator[Finding]:
    """With one and with as many calls at once as it likes, and the repository's own loop."""
    images, labels = make_images(task)
    split, recipe = as_split(images, labels), Recipe(1, 0, 0.001, BATCH)
    alone = _pipeline(images, labels, None)
    helped = _pipeline(images, labels, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    loaders = {
        "tf.data, one call at a time": lambda: alone,
        "tf.data, parallel map and prefetch": lambda: helped,
        "own loop (workers/tf/train.py)": lambda: batches(split, recipe, np.random.default_rng(0)),
    }
    return measure_loading(task, loaders, len(images))


def _pipeline(images: NDArray[np.uint8], labels: NDArray[np.int64], calls: int | None) -> tf.data.Dataset:
    source = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(labels))
    return source.map(_as_floats, num_parallel_calls=calls).batch(BATCH)


def _as_floats(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.cast(image, tf.float32) / 255.0, label


if __name__ == "__main__":
    sys.exit(run_task("workers.tf.factors.data_loading", findings))
