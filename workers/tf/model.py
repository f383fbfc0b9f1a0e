"""The network in Keras, and the way between its weights and the canonical ones."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def new_network() -> keras.Model:
    """The untrained network: `images` FP32 [N,28,28], pixels 0..1, light on dark, to `logits` FP32 [N,10].

    Convolution of 32 filters 3x3, a hidden layer of 128, ten logits: 2,770,634 parameters.
    """
    return keras.Sequential(
        [
            keras.Input((28, 28), name="images"),
            keras.layers.Reshape((28, 28, 1)),
            keras.layers.Conv2D(32, 3, activation="relu", name="conv"),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu", name="dense"),
            keras.layers.Dense(10, name="logits"),
        ]
    )


def build_network(tensors: Mapping[str, Array]) -> keras.Model:
    """The trained network. `tensors` are canonical, in PyTorch's layout (workers.canonical.SHAPES)."""
    network = new_network()
    for name, weights in layer_weights(tensors).items():
        network.get_layer(name).set_weights(weights)
    return network


def layer_weights(tensors: Mapping[str, Array]) -> dict[str, list[Array]]:
    """Kernel and bias of each layer, in Keras's layouts, from canonical tensors.

    Keras keeps channels last, so its Flatten yields rows, columns, channels where the canonical dense layer expects
    channels, rows, columns: the rows of that kernel are permuted once, here.
    """
    chw = tensors["dense.weight"].reshape(128, 32, 26, 26)
    return {
        "conv": [tensors["conv.weight"].transpose(2, 3, 1, 0), tensors["conv.bias"]],
        "dense": [chw.transpose(2, 3, 1, 0).reshape(26 * 26 * 32, 128), tensors["dense.bias"]],
        "logits": [tensors["logits.weight"].T, tensors["logits.bias"]],
    }


def tensors_of(layers: Mapping[str, Sequence[Array]]) -> dict[str, Array]:
    """Canonical tensors from kernel and bias of each layer, in Keras's layouts: `layer_weights` undone."""
    hwc = layers["dense"][0].reshape(26, 26, 32, 128)
    return {
        "conv.weight": layers["conv"][0].transpose(3, 2, 0, 1),
        "conv.bias": layers["conv"][1],
        "dense.weight": hwc.transpose(3, 2, 0, 1).reshape(128, 32 * 26 * 26),
        "dense.bias": layers["dense"][1],
        "logits.weight": layers["logits"][0].T,
        "logits.bias": layers["logits"][1],
    }
