"""Make the SavedModel of a version, and ask the SavedModel itself for the golden outputs."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from contracts.manifest import BadDocument
from workers.canonical import BadWeights, read_weights
from workers.exports import ExportOrder
from workers.tf.model import build_network

SIGNATURE = "serving_default"


class Servable(tf.Module):
    """What the SavedModel holds: the network behind one function with named input and output.

    It keeps the network's variables and not the Keras object: TensorFlow Serving restores variables by a graph
    operation, which for a Keras layer would restore the copies that saving makes, not those the function reads.
    """

    def __init__(self, network: keras.Model) -> None:
        super().__init__()
        self.kept = [variable.value for variable in network.variables]

        @tf.function(input_signature=[tf.TensorSpec([None, 28, 28], tf.float32, name="images")])
        def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"logits": network(images, training=False)}

        self.serve = serve


def outputs_of(path: Path, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    """Load the SavedModel into a session, as TensorFlow Serving does, and let its signature answer. Raises OSError."""
    session: Any
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signature = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(path)).signature_def[SIGNATURE]
        fetches = {name: info.name for name, info in signature.outputs.items()}
        outputs: dict[str, NDArray[np.generic]] = session.run(
            fetches, {signature.inputs[name].name: tensor for name, tensor in inputs.items()}
        )
    return outputs


def export(order: ExportOrder) -> None:
    """Write the SavedModel into the staged directory, and its golden outputs. Raises BadWeights, OSError."""
    servable = Servable(build_network(read_weights(order.weights)))
    tf.saved_model.save(servable, str(order.out), signatures={SIGNATURE: servable.serve})
    order.write_golden_outputs(outputs_of(order.out, order.read_golden()))


def main() -> int:
    """Run the command line; returns the exit code."""
    try:
        export(ExportOrder.from_command_line("workers.tf.export", "Export a version for TensorFlow Serving."))
    except (BadDocument, BadWeights, OSError) as error:
        sys.stderr.write(f"export for TensorFlow Serving failed: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
