"""Which operators and dtypes a SavedModel serves, of a fixed list: `python -m workers.tf.factors.coverage`."""

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from contracts.findings import Finding
from workers.factors.dtypes import ADDED, DTYPES, MOVED
from workers.factors.operators import Case, cases, check, measure_cover
from workers.factors.task import Task, run_task
from workers.tf.factors.operators import OPERATORS

SERVED = "SavedModel, as TensorFlow Serving takes it"
TF_DTYPES = {
    "BOOL": tf.bool,
    "UINT8": tf.uint8,
    "UINT16": tf.uint16,
    "UINT32": tf.uint32,
    "UINT64": tf.uint64,
    "INT8": tf.int8,
    "INT16": tf.int16,
    "INT32": tf.int32,
    "INT64": tf.int64,
    "FP16": tf.float16,
    "FP32": tf.float32,
    "FP64": tf.float64,
    "BF16": tf.bfloat16,
    "BYTES": tf.string,
    "COMPLEX64": tf.complex64,
    "FP8 (e4m3)": tf.dtypes.experimental.float8_e4m3fn,
}


def findings(task: Task) -> Iterator[Finding]:
    """Operators, then dtypes."""
    path = task.scratch / "operator"
    asked = {case.name: functools.partial(_ask, case, path) for case in cases()}
    yield from measure_cover("operators", SERVED, asked)
    for what, operator in ((MOVED, _joined), (ADDED, _doubled)):
        yield from measure_cover(
            what, SERVED, {name: functools.partial(_carry, name, operator, path) for name in DTYPES}
        )


def _ask(case: Case, path: Path) -> None:
    operator = OPERATORS.get(case.name)
    if operator is None:
        raise LookupError("TensorFlow has no such operator")
    inputs = tuple(tf.constant(array) for array in case.inputs)
    check(_served(operator, inputs, path)(*inputs).numpy(), case.expected)


def _served(operator: Callable[..., Any], inputs: tuple[tf.Tensor, ...], path: Path) -> Callable[..., Any]:
    module = tf.Module()
    signature = [tf.TensorSpec(given.shape, given.dtype) for given in inputs]
    module.ask = tf.function(lambda *given: operator(*given), input_signature=signature)
    tf.saved_model.save(module, str(path))
    loaded = tf.saved_model.load(str(path))

    def ask(*given: tf.Tensor) -> tf.Tensor:
        return loaded.ask(*given)

    return ask


def _carry(name: str, operator: Callable[..., Any], path: Path) -> None:
    dtype = TF_DTYPES[name]
    given = tf.constant([b"a", b"b"] if dtype == tf.string else np.array([1, 0, 1]).astype(dtype.as_numpy_dtype))
    answer = _served(operator, (given,), path)(given)
    if answer.dtype != given.dtype:
        raise ValueError(f"answered {answer.dtype.name}")


def _joined(given: tf.Tensor) -> tf.Tensor:
    return tf.concat((given, given), 0)


def _doubled(given: tf.Tensor) -> tf.Tensor:
    return tf.logical_or(given, given) if given.dtype == tf.bool else given + given


if __name__ == "__main__":
    sys.exit(run_task("workers.tf.factors.coverage", findings))
