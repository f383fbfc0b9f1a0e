"""Make the SavedModel of a version, and let the SavedModel itself answer the golden inputs and the test set."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from contracts.bfloat16 import BFLOAT16, adopt
from contracts.byte_strings import array_of
from contracts.exports import ExportReport
from contracts.manifest import BadDocument
from workers.canonical import BadWeights, read_weights
from workers.exports import Ask, ExportOrder, Tensors
from workers.tf.given_model import BadSavedModel, check_signature, copy_saved_model, operators_of
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


@contextmanager
def loaded(path: Path) -> Iterator[tuple[Any, Ask]]:
    """The SavedModel in a session, as TensorFlow Serving has it: its MetaGraphDef, and its signature to be asked.

    Raises BadSavedModel when it cannot be loaded or has no such signature.
    """
    session: Any
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        try:
            meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(path))
        except (tf.errors.OpError, RuntimeError, ValueError, OSError) as error:
            raise BadSavedModel(f"TensorFlow cannot load the SavedModel: {error}") from error
        if SIGNATURE not in meta_graph.signature_def:
            raise BadSavedModel(f"the SavedModel's signatures are {sorted(meta_graph.signature_def)}, not {SIGNATURE}")
        signature = meta_graph.signature_def[SIGNATURE]
        fetches = {name: info.name for name, info in signature.outputs.items()}

        def ask(inputs: Tensors) -> dict[str, NDArray[Any]]:
            feeds = {signature.inputs[name].name: _as_theirs(tensor) for name, tensor in inputs.items()}
            try:
                outputs: dict[str, Any] = session.run(fetches, feeds)
            except (tf.errors.OpError, ValueError) as error:
                raise BadSavedModel(f"the SavedModel does not answer: {error}") from error
            return {name: _as_ours(output) for name, output in outputs.items()}

        yield meta_graph, ask


def _as_theirs(tensor: NDArray[Any]) -> NDArray[Any]:
    return tensor.view(tf.bfloat16.as_numpy_dtype) if tensor.dtype == BFLOAT16 else tensor


def _as_ours(output: Any) -> NDArray[Any]:
    """A session gives one string without dimensions as `bytes`, of which numpy would make an array of its own kind."""
    return array_of([output], ()) if isinstance(output, bytes) else adopt(np.asarray(output))


def write_saved_model(order: ExportOrder) -> None:
    """Write the SavedModel into the staged directory. Raises BadWeights, BadSavedModel, OSError."""
    if order.weights:
        servable = Servable(build_network(read_weights(order.weights)))
        tf.saved_model.save(servable, str(order.out), signatures={SIGNATURE: servable.serve})
    if order.artifact:
        copy_saved_model(order.artifact, order.out)


def export(order: ExportOrder) -> None:
    """Write the SavedModel, its answers and its operators. Raises BadWeights, BadDocument, BadSavedModel, OSError."""
    write_saved_model(order)
    with loaded(order.out) as (meta_graph, ask):
        check_signature(meta_graph.signature_def[SIGNATURE], order.model.signature)
        order.answer(ask)
        order.write_report(ExportReport(operators=operators_of(meta_graph.graph_def)))


def main() -> int:
    """Run the command line; returns the exit code."""
    try:
        export(ExportOrder.from_command_line("workers.tf.export", "Export a version for TensorFlow Serving."))
    except (BadDocument, BadWeights, BadSavedModel, OSError) as error:
        sys.stderr.write(f"export for TensorFlow Serving failed: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
