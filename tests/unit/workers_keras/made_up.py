"""What the tests of both training programs share: data learnt at a glance, and a look into event files."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from workers.mnist import Mnist, Split
from workers.mnist.training import Recipe

RECIPE = Recipe(epochs=2, seed=3, learning_rate=0.001, batch_size=8)
STEPS = 16
"""Of RECIPE on made_up_data(): two epochs of seven batches of 8 and one of 4."""

POINTS: dict[str, dict[str, list[int]]] = {
    "scalars": {"train/loss": [1, 16], "train/learning_rate": [1, 16], "test/accuracy": [8, 16]},
    "images": {"test/mistakes": [8, 16]},
}
"""The steps that a run of RECIPE must show, by TensorBoard's plugin and tag."""


def made_up_data(count: int = 60) -> Mnist:
    """Ten classes told apart by which row is lit; so many images to learn from, and the same to be judged by."""
    labels = np.arange(count, dtype=np.int64) % 10
    images = np.zeros((count, 28, 28), np.float32)
    images[np.arange(count), 2 * labels + 4] = 1
    split = Split(images, labels)
    return Mnist(split, split)


class EventFiles:
    """One run's event files, read as TensorBoard reads them, and without importing tensorflow for it."""

    def __init__(self, run: Path) -> None:
        sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
        from tensorboard.backend.event_processing import (  # type: ignore[import-untyped]
            plugin_event_accumulator as accumulators,
        )

        self._events: Any = accumulators.EventAccumulator(str(run))
        self._events.Reload()

    def points(self) -> dict[str, dict[str, list[int]]]:
        """Steps by plugin and tag."""
        return {
            plugin: {tag: [event.step for event in self._events.Tensors(tag)] for tag in self._tags(plugin)}
            for plugin in POINTS
        }

    def scalars(self, tag: str) -> list[float]:
        """The values of one curve."""
        return [float(tensor_array(event.tensor_proto)) for event in self._events.Tensors(tag)]

    def picture_sizes(self, tag: str) -> list[tuple[int, int]]:
        """Width and height of each picture, from the two strings that precede its PNG."""
        found = []
        for event in self._events.Tensors(tag):
            width, height, *_ = event.tensor_proto.string_val
            found.append((int(width), int(height)))
        return found

    def operations(self) -> list[str]:
        """The operation of every node of the graph."""
        return [node.op for node in self._events.Graph().node]

    def _tags(self, plugin: str) -> list[str]:
        return list(self._events.PluginTagToContent(plugin))


def tensor_array(proto: Any) -> Any:
    """A TensorProto as an array."""
    from tensorboard.util import tensor_util  # type: ignore[import-untyped]

    return tensor_util.make_ndarray(proto)
