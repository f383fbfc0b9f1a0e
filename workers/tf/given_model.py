"""A SavedModel of somebody else's making: copied as it is, held against the signature it must have, and looked into."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from contracts.manifest import Signature, TensorSpec

FILES = ("saved_model.pb", "saved_model.pbtxt", "fingerprint.pb", "keras_metadata.pb")
FOLDERS = ("variables", "assets", "assets.extra")
"""What a SavedModel's directory may hold, by TensorFlow's saved_model/constants.h and Keras; nothing else is copied."""

_NAMES = {"BYTES": "string", "BF16": "bfloat16"}


class BadSavedModel(ValueError):
    """A SavedModel cannot be served as its model's signature says; the message says what was expected and what came."""


def copy_saved_model(source: Path, target: Path) -> None:
    """Copy the SavedModel at `source` into the directory `target`, which exists. Raises BadSavedModel, OSError."""
    if not any((source / name).is_file() for name in FILES[:2]):
        raise BadSavedModel(f"{source} holds no saved_model.pb")
    for name in FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    for name in FOLDERS:
        for path in sorted((source / name).rglob("*")):
            if path.is_file():  # contents alone: a read-only folder could not be cleaned up, nor be read by an engine
                copy = target / path.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)


def check_signature(served: Any, wanted: Signature) -> None:
    """Hold a SignatureDef against the model's signature. Raises BadSavedModel.

    Names and datatypes must be the same. An input may be freer than the signature asks, never narrower; an output of
    unknown size may turn out as the signature says.
    """
    _check_tensors("inputs", served.inputs, wanted.inputs, is_input=True)
    _check_tensors("outputs", served.outputs, wanted.outputs, is_input=False)


def operators_of(graph: Any) -> tuple[str, ...]:
    """The operators a GraphDef and its function library use, sorted; calls of its own functions are none."""
    functions = {function.signature.name for function in graph.library.function}
    used = {node.op for node in graph.node}
    for function in graph.library.function:
        used |= {node.op for node in function.node_def}
    return tuple(sorted(used - functions))


def _check_tensors(side: str, served: Mapping[str, Any], wanted: Sequence[TensorSpec], *, is_input: bool) -> None:
    names = sorted(spec.name for spec in wanted)
    if sorted(served) != names:
        raise BadSavedModel(f"the SavedModel's {side} are {sorted(served)}, the model's are {names}")
    for spec in wanted:
        info = served[spec.name]
        # Both sides name the others alike but for one prefix: FP32 is float32.
        expected = _NAMES.get(spec.datatype, spec.datatype.lower().replace("fp", "float"))
        found = tf.as_dtype(info.dtype).name
        if expected != found:
            raise BadSavedModel(f"{spec.name} is {found} in the SavedModel, the model says {spec.datatype}")
        shape = tf.TensorShape(info.tensor_shape)
        if shape.rank is None:
            continue
        sizes = [-1 if size is None else size for size in shape.as_list()]
        if not _fits(sizes, spec.shape, is_input=is_input):
            raise BadSavedModel(f"{spec.name} has shape {sizes} in the SavedModel, the model says {list(spec.shape)}")


def _fits(served: Sequence[int], wanted: Sequence[int], *, is_input: bool) -> bool:
    if len(served) != len(wanted):
        return False
    pairs = list(zip(served, wanted, strict=True))
    return all(have in (-1, want) or (want == -1 and not is_input) for have, want in pairs)
