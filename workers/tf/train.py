"""Train the network in Keras: `python -m workers.tf.train --data DIR --epochs N --out weights.safetensors`.

Reads side by side with workers/torch/train.py: the same functions in the same order (docs/two-frameworks.md).
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from rich.console import Console

from contracts.manifest import Weights
from workers.canonical import round_to_stored, write_weights
from workers.mnist import Mnist, Split, shuffled_batches
from workers.mnist.board import ACCURACY, LEARNING_RATE, LOSS, MISTAKES, has_point, mistakes_sheet
from workers.mnist.training import EVALUATION_BATCH, INTERRUPTED, MAX_SHIFT, OnStep, Recipe, run_program
from workers.tf.model import build_network, new_network, tensors_of

Step = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Learns from one batch of images FP32 [N,28,28] and labels INT64 [N]; returns the loss summed over it."""

IMAGES = tf.TensorSpec([None, 28, 28], tf.float32, name="images")
LABELS = tf.TensorSpec([None], tf.int64, name="labels")


def train(data: Mnist, recipe: Recipe, on_step: OnStep, board: "Board | None" = None) -> keras.Model:
    """Adam on the cross-entropy summed over each batch; the learning rate falls linearly to zero."""
    keras.utils.set_random_seed(recipe.seed)
    generator = np.random.default_rng(recipe.seed)
    network = new_network()
    steps = recipe.steps(len(data.train.labels))
    schedule = keras.optimizers.schedules.PolynomialDecay(recipe.learning_rate, steps, end_learning_rate=0.0)
    optimizer = keras.optimizers.Adam(schedule)
    take_step = make_step(network, optimizer)
    if board:
        board.show_graph(network)
    step = 0
    for _ in range(recipe.epochs):
        for images, labels in batches(data.train, recipe, generator):
            loss = float(take_step(images, labels)) / len(labels)
            step += 1
            if board and has_point(step, steps):
                board.show_step(step, loss, float(schedule(step - 1)))
            on_step(step, steps, loss)
        if board:
            board.show_epoch(step, network, data.test)
    return network


def batches(split: Split, recipe: Recipe, generator: np.random.Generator) -> tf.data.Dataset:
    """One epoch of images FP32 [N,28,28] and labels INT64 [N], shuffled and moved."""

    def pairs() -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        for batch in shuffled_batches(split, recipe.batch_size, MAX_SHIFT, generator):
            yield batch.images, batch.labels

    return tf.data.Dataset.from_generator(pairs, output_signature=(IMAGES, LABELS)).prefetch(tf.data.AUTOTUNE)


def make_step(network: keras.Model, optimizer: keras.optimizers.Optimizer) -> Step:
    """One step of learning: forward, loss, gradients, update; traced once and run as one graph."""
    optimizer.build(network.trainable_variables)

    @tf.function(input_signature=[IMAGES, LABELS])
    def step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply(gradients, network.trainable_variables)
        return loss

    graph: Step = step
    return graph


def predict(network: keras.Model, images: NDArray[np.float32]) -> NDArray[np.int64]:
    """The digit of the largest logit for each image: FP32 [N,28,28] to INT64 [N]."""
    guesses = np.empty(len(images), np.int64)
    for start in range(0, len(images), EVALUATION_BATCH):
        part = slice(start, start + EVALUATION_BATCH)
        guesses[part] = network(images[part], training=False).numpy().argmax(1)
    return guesses


def accuracy(network: keras.Model, split: Split) -> float:
    """The share of images whose largest logit is their label's."""
    return float((predict(network, split.images) == split.labels).mean())


def canonical_tensors(network: keras.Model) -> dict[str, NDArray[np.float32]]:
    """The network's parameters under their canonical names and in the canonical layout, which is PyTorch's."""
    return tensors_of({layer.name: layer.get_weights() for layer in network.layers if layer.weights})


def train_to_file(data: Mnist, recipe: Recipe, out: Path, on_step: OnStep, run: Path | None = None) -> Weights:
    """Train, judge the weights as they will be stored, store them with their record. Raises BadWeights, OSError.

    With `run`, a folder, TensorBoard's event files are written there.
    """
    with Board(run) if run else nullcontext() as board:
        network = train(data, recipe, on_step, board)
    stored = round_to_stored(canonical_tensors(network))
    network = build_network(stored)
    return write_weights(out, stored, recipe.record("keras", accuracy(network, data.test)))


class Board:
    """A run as TensorBoard shows it: graph, loss, learning rate, test accuracy, mistakes."""

    def __init__(self, run: Path) -> None:
        self._writer = tf.summary.create_file_writer(str(run))

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def show_graph(self, network: keras.Model) -> None:
        """Draw the operations from images to logits."""
        forward = tf.function(lambda images: network(images, training=False)).get_concrete_function(IMAGES)
        with self._writer.as_default():
            tf.summary.graph(forward.graph)

    def show_step(self, step: int, loss: float, learning_rate: float) -> None:
        """Draw the mean loss an image, and the learning rate that the step used."""
        with self._writer.as_default(step):
            tf.summary.scalar(LOSS, loss)
            tf.summary.scalar(LEARNING_RATE, learning_rate)

    def show_epoch(self, step: int, network: keras.Model, test: Split) -> None:
        """Draw how the network does on the test images after so many steps, and where it errs."""
        guesses = predict(network, test.images)
        with self._writer.as_default(step):
            tf.summary.scalar(ACCURACY, (guesses == test.labels).mean())
            tf.summary.image(MISTAKES, mistakes_sheet(test, guesses)[None, :, :, None])
        self._writer.flush()


def main() -> int:
    """Run the command line; returns the exit code."""
    # A KeyboardInterrupt raised amid TensorFlow's calls back into Python is lost, or aborts the process.
    signal.signal(signal.SIGINT, _leave)
    return run_program("workers.tf.train", "keras", train_to_file)


def _leave(*_: object) -> None:
    Console(stderr=True).show_cursor()  # which the progress bar hides
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
