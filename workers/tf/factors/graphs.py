"""Eager, `tf.function` and XLA, of one network: `python -m workers.tf.factors.graphs`."""

import sys
from collections.abc import Callable, Iterator

import tensorflow as tf

from contracts.findings import Finding
from workers.factors.graphs import Passes, measure_graphs
from workers.factors.task import Task, run_task
from workers.tf.factors.formats import read_network

IMAGES = tf.TensorSpec([None, 28, 28], tf.float32)


def findings(task: Task) -> Iterator[Finding]:
    """Raises BadWeights, OSError."""
    network = read_network(task.weights)

    def forward(images: tf.Tensor) -> tf.Tensor:
        return network(images, training=False)

    ways: dict[str, Callable[[], Passes]] = {
        "eager": lambda: _passes(forward),
        "tf.function": lambda: _passes(tf.function(forward, input_signature=[IMAGES])),
        "XLA (jit_compile)": lambda: _passes(tf.function(forward, input_signature=[IMAGES], jit_compile=True)),
    }
    return measure_graphs(task, ways)


def _passes(function: Callable[[tf.Tensor], tf.Tensor]) -> Passes:
    def of_rows(rows: int) -> Callable[[], object]:
        images = tf.random.uniform((rows, 28, 28))
        return lambda: function(images).numpy()  # which waits until it is computed

    return of_rows


if __name__ == "__main__":
    sys.exit(run_task("workers.tf.factors.graphs", findings))
