"""One version in memory: a SavedModel in a graph and a session of its own.

Loads with the v1 loader, which takes every SavedModel there is (tf.saved_model.load refuses some of TF1's), and runs
through the session's C call: `Session.run` would hold inputs against the graph's static shapes, which a model server
must not. The C call is private to TensorFlow; the contract tests keep watch over it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from tensorflow.python.client import pywrap_tf_session

from workers.tf.embedded.deadlines import Deadline
from workers.tf.embedded.faults import Code, Fault, invalid

Array = np.ndarray[Any, Any]


class Model(Protocol):
    """What a version is to those who ask it: signatures by name, and tensors in, tensors out."""

    @property
    def signatures(self) -> Mapping[str, Any]: ...

    def run(self, feeds: Sequence[tuple[str, Array]], fetches: Sequence[str], deadline: Deadline) -> list[Array]:
        """Feed the tensors named, return those fetched, in order. Raises Fault."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class LoadOptions:
    """`tags` choose the meta graph; `session_config` is a ConfigProto."""

    tags: tuple[str, ...]
    session_config: Any


class SavedModel:
    """Answers from any thread until it is closed. `signatures` are the model's SignatureDefs by name."""

    def __init__(self, session: Any, signatures: Mapping[str, Any]) -> None:
        self._session = session
        self._endpoints: dict[str, Any] = {}
        self.signatures = signatures

    def run(self, feeds: Sequence[tuple[str, Array]], fetches: Sequence[str], deadline: Deadline) -> list[Array]:
        """Feed the tensors named, return those fetched, in order.

        Raises Fault with TensorFlow's own code and message; INVALID_ARGUMENT when a tensor name is not in the graph.
        """
        fed = {self._endpoint(name): array for name, array in feeds}
        fetched = [self._endpoint(name) for name in fetches]
        timeout_ms = deadline.remaining_ms()
        if timeout_ms is None:
            return self._run(None, fed, fetched)
        run_options = tf.compat.v1.RunOptions(timeout_in_ms=timeout_ms)
        buffer = pywrap_tf_session.TF_NewBufferFromString(run_options.SerializeToString())
        try:
            return self._run(buffer, fed, fetched)
        finally:
            pywrap_tf_session.TF_DeleteBuffer(buffer)

    def close(self) -> None:
        """Give the memory back. No run may be under way."""
        self._session.close()
        self._endpoints.clear()

    def _run(self, run_options: Any, fed: dict[Any, Array], fetched: list[Any]) -> list[Array]:
        try:
            outputs: list[Array] = pywrap_tf_session.TF_SessionRun_wrapper(
                self._session._session, run_options, fed, fetched, [], None
            )
        except tf.errors.OpError as error:
            raise _fault_of(error) from error
        except UnicodeDecodeError as error:
            # The binding cannot carry a message that quotes bytes of the request.
            raise invalid("The request holds bytes the model cannot parse") from error
        return outputs

    def _endpoint(self, name: str) -> Any:
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            try:
                endpoint = self._session.graph.get_tensor_by_name(name)._as_tf_output()
            except (KeyError, ValueError) as error:
                raise invalid(f"Tensor {name} is not in the model's graph") from error
            self._endpoints[name] = endpoint
        return endpoint


def load_saved_model(path: Path, options: LoadOptions) -> SavedModel:
    """Load the SavedModel under `path`.

    Raises Fault: NOT_FOUND when there is none, TensorFlow's code when it is broken, UNKNOWN for what the loader's
    Python part raises.
    """
    if not any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        raise Fault(
            Code.NOT_FOUND, f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}"
        )
    session: Any = tf.compat.v1.Session(graph=tf.Graph(), config=options.session_config)
    try:
        with session.graph.as_default():
            meta_graph: Any = tf.compat.v1.saved_model.loader.load(session, list(options.tags), str(path))
    except tf.errors.OpError as error:
        session.close()
        raise _fault_of(error) from error
    except Exception:
        session.close()
        raise
    # Copied out, so that the serialised graph they hang on can be freed.
    signatures = {}
    for name, signature in meta_graph.signature_def.items():
        signatures[name] = type(signature).FromString(signature.SerializeToString())
    return SavedModel(session, signatures)


def _fault_of(error: Any) -> Fault:
    return Fault(Code(error.error_code), error.message)
