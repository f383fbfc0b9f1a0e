"""A SavedModel made elsewhere: copied, held against the model's signature, its operators listed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from contracts.manifest import Signature, TensorSpec
from workers.ranker import MODEL
from workers.tf.export import loaded
from workers.tf.given_model import BadSavedModel, check_signature, copy_saved_model, operators_of
from workers.tf.samples import write_ranker

IDS, SCALE = MODEL.signature.inputs
SCORES, TOP = MODEL.signature.outputs


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "1"
    write_ranker(folder)
    return folder


def served(inputs: Mapping[str, tuple[Any, Any]], outputs: Mapping[str, tuple[Any, Any]]) -> Any:
    """A SignatureDef with tensors of these dtypes and shapes; None is an unknown size, or an unknown rank."""
    definition = tf.compat.v1.MetaGraphDef().signature_def["serving_default"]
    for side, tensors in ((definition.inputs, inputs), (definition.outputs, outputs)):
        for name, (dtype, shape) in tensors.items():
            side[name].dtype = dtype.as_datatype_enum
            side[name].tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    return definition


INPUTS = {"ids": (tf.int64, [None, 4]), "scale": (tf.float32, [None, 1])}
OUTPUTS = {"scores": (tf.float32, [None, 3]), "top": (tf.int64, [None])}


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({}, {}),
        ({"ids": (tf.int64, [None, None])}, {"scores": (tf.float32, [None, None])}),
        ({"ids": (tf.int64, None)}, {"scores": (tf.float32, None)}),
    ],
)
def test_a_signature_that_is_the_same_or_freer_fits(inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
    check_signature(served(INPUTS | inputs, OUTPUTS | outputs), MODEL.signature)


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ({"more": (tf.int64, [])}, {}, r"inputs are \['ids', 'more', 'scale'\], the model's are \['ids', 'scale'\]"),
        ({}, {"more": (tf.int64, [])}, "outputs are"),
        ({"ids": (tf.int32, [None, 4])}, {}, "ids is int32 in the SavedModel, the model says INT64"),
        ({}, {"scores": (tf.float16, [None, 3])}, "scores is float16 in the SavedModel, the model says FP32"),
        ({"ids": (tf.int64, [1, 4])}, {}, r"ids has shape \[1, 4\] in the SavedModel, the model says \[-1, 4\]"),
        ({"ids": (tf.int64, [None, 5])}, {}, r"ids has shape \[-1, 5\]"),
        ({"ids": (tf.int64, [None])}, {}, r"ids has shape \[-1\]"),
        ({}, {"scores": (tf.float32, [None, 2])}, r"scores has shape \[-1, 2\]"),
    ],
)
def test_a_signature_that_differs_is_refused(inputs: dict[str, Any], outputs: dict[str, Any], said: str) -> None:
    with pytest.raises(BadSavedModel, match=said):
        check_signature(served(INPUTS | inputs, OUTPUTS | outputs), MODEL.signature)


def test_an_output_may_turn_out_narrower_than_promised() -> None:
    free = Signature((IDS, SCALE), (TensorSpec("scores", "FP32", (-1, -1)), TOP))
    check_signature(served(INPUTS, OUTPUTS), free)


def test_only_what_belongs_to_a_saved_model_is_copied(saved: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    target.mkdir()
    copy_saved_model(saved, target)
    target.rename(source)
    for name in ("assets", "assets.extra"):
        (source / name).mkdir()
    for name in ("golden.npz", "manifest.json", "assets.extra/tf_serving_warmup_requests", "assets/words.txt"):
        (source / name).write_text("made elsewhere")
    (source / "variables").chmod(0o500)
    target.mkdir()
    copy_saved_model(source, target)
    found = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    variables = {"variables/variables.index", "variables/variables.data-00000-of-00001"}
    extras = {"assets.extra/tf_serving_warmup_requests", "assets/words.txt"}
    assert found == {"saved_model.pb", "fingerprint.pb"} | variables | extras
    assert (target / "variables").stat().st_mode & 0o200
    with pytest.raises(BadSavedModel, match=r"holds no saved_model\.pb"):
        copy_saved_model(tmp_path, target)


def test_operators_include_those_inside_functions(saved: Path) -> None:
    with loaded(saved) as (meta_graph, _):
        operators = operators_of(meta_graph.graph_def)
        functions = {function.signature.name for function in meta_graph.graph_def.library.function}
    assert {"ResourceGather", "Tanh", "ArgMax", "VarHandleOp", "RestoreV2"} <= set(operators)
    assert list(operators) == sorted(set(operators))
    assert functions
    assert not functions & set(operators)


@pytest.mark.parametrize("fault", ["cut", "no default signature", "refuses its inputs"])
def test_what_cannot_be_served_is_refused(saved: Path, tmp_path: Path, fault: str) -> None:
    folder = tmp_path / "1"
    folder.mkdir()
    if fault == "no default signature":
        tf.saved_model.save(tf.Module(), str(folder))
    else:
        copy_saved_model(saved, folder)
    if fault == "cut":
        (folder / "saved_model.pb").write_bytes((saved / "saved_model.pb").read_bytes()[:100])
    said = {"cut": "cannot load the SavedModel", "no default signature": "not serving_default"}
    with pytest.raises(BadSavedModel, match=said.get(fault, "does not answer")), loaded(folder) as (_, ask):
        ask({"ids": np.zeros((2, 4), np.int64), "scale": np.zeros((3, 1), np.float32)})
