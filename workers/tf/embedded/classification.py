"""What a signature says of tf.Examples: its classes and scores, or its values.

Pure: SignatureDef and arrays in, results out. Wording and codes: tensorflow_serving/servables/tensorflow/classifier.cc,
regressor.cc and util.cc.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow_serving.apis import classification_pb2, regression_pb2

from workers.tf.embedded.faults import Code, Fault, invalid
from workers.tf.embedded.tensors import Array, dtype_name, type_of

CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"

INPUTS = "inputs"
_CLASSES = "classes"
_SCORES = "scores"
_OUTPUTS = "outputs"


@dataclass(frozen=True)
class Method:
    """One way to read a signature; `api` is what metrics call it, `result` the field of an InferenceResult."""

    name: str
    api: str
    noun: str
    result: str
    is_classify: bool


CLASSIFY = Method(CLASSIFY_METHOD, "Classify", "classification", "classification_result", True)
REGRESS = Method(REGRESS_METHOD, "Regress", "regression", "regression_result", False)
METHODS = {method.name: method for method in (CLASSIFY, REGRESS)}


def serialise_examples(given: Any) -> Array:
    """The examples of an Input message, [n] bytes; a context goes before each of them, as protobuf merges.

    Raises Fault(INVALID_ARGUMENT) when there are none.
    """
    context = b""
    examples: Sequence[Any] = []
    match given.WhichOneof("kind"):
        case "example_list":
            examples = given.example_list.examples
        case "example_list_with_context":
            context = given.example_list_with_context.context.SerializeToString()
            examples = given.example_list_with_context.examples
    if not examples:
        raise invalid("Input is empty.")
    array = np.empty(len(examples), np.object_)
    array[:] = [context + example.SerializeToString() for example in examples]
    return array


def output_aliases(method: Method, signature: Any, checks_name: bool = False) -> list[str]:
    """Which outputs the method reads. Raises Fault when the signature is not made for it."""
    if checks_name and signature.method_name != method.name:
        raise invalid(f"Expected {method.noun} signature method_name to be {method.name}. Was: {signature.method_name}")
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if method.is_classify and len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if not method.is_classify and len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise _unready(f"No {method.noun} inputs found in SignatureDef: {signature}")
    wanted = (_CLASSES, _SCORES) if method.is_classify else (_OUTPUTS,)
    aliases = [alias for alias in wanted if alias in signature.outputs]
    if not aliases and method.is_classify:
        raise _unready(
            f'Expected classification signature outputs to contain at least one of "{_CLASSES}" or "{_SCORES}". '
            f"Signature was: {signature}"
        )
    if not aliases:
        raise _unready(f"No regression outputs found in SignatureDef: {signature}")
    return aliases


def encode_result(method: Method, count: int, outputs: Mapping[str, Array]) -> Any:
    """ClassificationResult or RegressionResult for `count` examples. Raises Fault(INVALID_ARGUMENT)."""
    return _classifications(count, outputs) if method.is_classify else _regressions(count, outputs[_OUTPUTS])


def _classifications(count: int, outputs: Mapping[str, Array]) -> Any:
    classes, scores = outputs.get(_CLASSES), outputs.get(_SCORES)
    if classes is not None:
        _check_table("classes", classes, np.dtype(np.object_), count)
    if scores is not None:
        _check_table("scores", scores, np.dtype(np.float32), count)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    result: Any = classification_pb2.ClassificationResult()
    for row in range(count):
        entry = result.classifications.add()
        labels = [] if classes is None else classes[row].tolist()
        values = [] if scores is None else scores[row].tolist()
        for index in range(max(len(labels), len(values))):
            answer = entry.classes.add()
            if labels:
                answer.label = labels[index].decode("utf-8", "replace")
            if values:
                answer.score = values[index]
    return result


def _regressions(count: int, values: Array) -> Any:
    if values.ndim != 1 and not (values.ndim == 2 and values.shape[1] == 1):
        raise invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(values)}"
        )
    if len(values) != count:
        raise invalid(f"Input batch size did not match output batch size: {count} vs. {len(values)}")
    if values.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_type(values)}")
    result: Any = regression_pb2.RegressionResult()
    for value in values.ravel().tolist():
        result.regressions.add(value=value)
    return result


def _check_table(name: str, array: Array, dtype: np.dtype[Any], count: int) -> None:
    if array.ndim != 2:
        raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
    if array.dtype != dtype:
        expected = "DT_STRING" if dtype.hasobject else "DT_FLOAT"
        raise invalid(f"Expected {name} Tensor of {expected}. Got: {_type(array)}")
    if len(array) != count:
        raise invalid(f"Expected {name} output batch size of {count}. Got: {len(array)}")


def _shape(array: Array) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _type(array: Array) -> str:
    number = type_of(array)
    return "DT_INVALID" if number is None else f"DT_{dtype_name(number).upper()}"


def _unready(message: str) -> Fault:
    return Fault(Code.FAILED_PRECONDITION, message)
