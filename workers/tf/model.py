"""The network in Keras, built from the canonical weights."""

from collections.abc import Mapping

import keras
import numpy as np
from numpy.typing import NDArray


def build_network(tensors: Mapping[str, NDArray[np.float32]]) -> keras.Model:
    """The trained network: `images` FP32 [N,28,28], pixels 0..1, light on dark, to `logits` FP32 [N,10].

    `tensors` are canonical, in PyTorch's layout (workers.canonical.SHAPES).
    """
    network = keras.Sequential(
        [
            keras.Input((28, 28), name="images"),
            keras.layers.Reshape((28, 28, 1)),
            keras.layers.Conv2D(32, 3, activation="relu", name="conv"),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu", name="dense"),
            keras.layers.Dense(10, name="logits"),
        ]
    )
    for name, weights in layer_weights(tensors).items():
        network.get_layer(name).set_weights(weights)
    return network


def layer_weights(tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, list[NDArray[np.float32]]]:
    """Kernel and bias of each layer, in Keras's layouts.

    Keras keeps channels last, so its Flatten yields rows, columns, channels where the canonical dense layer expects
    channels, rows, columns: the rows of that kernel are permuted once, here.
    """
    chw = tensors["dense.weight"].reshape(128, 32, 26, 26)
    return {
        "conv": [tensors["conv.weight"].transpose(2, 3, 1, 0), tensors["conv.bias"]],
        "dense": [chw.transpose(2, 3, 1, 0).reshape(26 * 26 * 32, 128), tensors["dense.bias"]],
        "logits": [tensors["logits.weight"].T, tensors["logits.bias"]],
    }
