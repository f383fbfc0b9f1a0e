"""Whether a breakpoint inside the model stops: `python -m workers.tf.factors.debugging`."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from contracts.findings import Finding
from workers.factors.stops import Stops, measure_stops
from workers.factors.task import Task, run_task
from workers.tf.factors.formats import read_network


class Stopping(keras.layers.Layer):
    """A layer that stops and gives on what it gets."""

    def call(self, features: tf.Tensor) -> tf.Tensor:
        breakpoint()
        return features


def findings(task: Task) -> Iterator[Finding]:
    """Eager, as a graph, with graphs run eagerly, XLA, SavedModel. Raises BadWeights, OSError."""
    layers = read_network(task.weights).layers
    network = keras.Sequential([*layers[:2], Stopping(), *layers[2:]])
    images = tf.zeros((2, 28, 28))

    def forward(given: tf.Tensor) -> tf.Tensor:
        return network(given, training=False)

    ways: dict[str, Callable[[], Callable[[], object]]] = {
        "eager": lambda: _warm(forward, images),
        "tf.function": lambda: _warm(tf.function(forward), images),
        "tf.function, run_functions_eagerly": lambda: _eagerly(tf.function(forward), images),
        "XLA (jit_compile)": lambda: _warm(tf.function(forward, jit_compile=True), images),
        "SavedModel": lambda: _saved(forward, _variables(network), str(task.scratch / "stopping"), images),
    }
    return measure_stops(ways, Stops(_can_read))


def _warm(function: Callable[[tf.Tensor], Any], images: tf.Tensor) -> Callable[[], object]:
    function(images)  # it is traced at its first call
    return lambda: function(images)


def _eagerly(function: Callable[[tf.Tensor], Any], images: tf.Tensor) -> Callable[[], object]:
    def run() -> object:
        tf.config.run_functions_eagerly(True)
        try:
            return function(images)
        finally:
            tf.config.run_functions_eagerly(False)

    return run


def _saved(forward: Callable[[tf.Tensor], Any], kept: list[Any], path: str, images: tf.Tensor) -> Callable[[], object]:
    module = tf.Module()
    module.kept = kept
    module.ask = tf.function(forward, input_signature=[tf.TensorSpec([None, 28, 28])])
    tf.saved_model.save(module, path)
    loaded = tf.saved_model.load(path)
    return lambda: loaded.ask(images)


def _variables(network: keras.Model) -> list[Any]:
    """Those that a graph of the network reads, which whoever saves that graph must hold."""
    return [variable.value for variable in network.variables]


def _can_read(value: Any) -> bool:
    try:
        return bool(value.numpy().size)
    except (AttributeError, NotImplementedError, TypeError):
        return False


if __name__ == "__main__":
    sys.exit(run_task("workers.tf.factors.debugging", findings))
