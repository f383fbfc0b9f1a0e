"""The files in which TensorFlow keeps a trained network, each with how it is written and how it is made to answer."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from workers.canonical import read_weights
from workers.factors.forwards import Forward, Images
from workers.tf.export import SIGNATURE, Servable
from workers.tf.model import build_network, new_network


@dataclass(frozen=True)
class Format:
    """`save` writes a network to a path; `load` makes of that path something that answers."""

    name: str
    suffix: str
    save: Callable[[keras.Model, Path], None]
    load: Callable[[Path], Forward]


def read_network(weights: Path) -> keras.Model:
    """The network with canonical weights. Raises BadWeights, OSError."""
    return build_network(read_weights(weights))


def save_saved_model(network: keras.Model, path: Path) -> None:
    """As twinserve exports it."""
    servable = Servable(network)
    tf.saved_model.save(servable, str(path), signatures={SIGNATURE: servable.serve})


def load_saved_model(path: Path) -> Forward:
    """The SavedModel's serving function."""
    loaded = tf.saved_model.load(str(path))

    def forward(images: Images) -> NDArray[np.float32]:
        outputs = loaded.signatures[SIGNATURE](images=tf.constant(images))
        answer: NDArray[np.float32] = outputs["logits"].numpy()
        return answer

    return forward


def in_numpy(network: keras.Model) -> Forward:
    """Numpy to numpy."""

    def forward(images: Images) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = network(images, training=False).numpy()
        return answer

    return forward


def _load_weights(path: Path) -> Forward:
    network = new_network()
    network.load_weights(path)
    return in_numpy(network)


def _save_lite(network: keras.Model, path: Path) -> None:
    servable = Servable(network)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([servable.serve.get_concrete_function()], servable)
    path.write_bytes(converter.convert())


def _load_lite(path: Path) -> Forward:
    interpreter = tf.lite.Interpreter(model_path=str(path), num_threads=os.cpu_count())
    (given,) = interpreter.get_input_details()
    (found,) = interpreter.get_output_details()
    interpreter.allocate_tensors()  # what answering needs; another number of rows does it again

    def forward(images: Images) -> NDArray[np.float32]:
        interpreter.resize_tensor_input(given["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], images)
        interpreter.invoke()
        answer: NDArray[np.float32] = interpreter.get_tensor(found["index"])
        return answer

    return forward


FORMATS = (
    Format("SavedModel", "", save_saved_model, load_saved_model),
    Format(
        "Keras v3 file", ".keras", lambda n, path: n.save(path), lambda path: in_numpy(keras.models.load_model(path))
    ),
    Format("Keras weights", ".weights.h5", lambda network, path: network.save_weights(path), _load_weights),
    Format("TFLite", ".tflite", _save_lite, _load_lite),
)
