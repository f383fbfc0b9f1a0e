"""Which operators and dtypes a SavedModel serves, of a fixed list: `python -m workers.tf.factors.coverage`."""

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from contracts.findings import Finding
from workers.factors import dtypes
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
    asked = {
        built.name: functools.partial(_ask, built, other, path) for built, other in zip(cases(), cases(1), strict=True)
    }
    yield from measure_cover("operators", SERVED, asked)
    for what, operator in ((MOVED, _joined), (ADDED, _doubled)):
        yield from measure_cover(
            what, SERVED, {name: functools.partial(_carry, what, name, operator, path) for name in DTYPES}
        )


def _ask(built: Case, other: Case, path: Path) -> None:
    operator = OPERATORS.get(built.name)
    if operator is None:
        raise LookupError("TensorFlow has no such operator")
    inputs = tuple(tf.constant(array) for array in built.inputs)
    asked = tuple(tf.constant(array) for array in other.inputs)
    check(_served(operator, inputs, path)(*asked).numpy(), other.expected)


def _served(operator: Callable[..., Any], inputs: tuple[tf.Tensor, ...], path: Path) -> Callable[..., Any]:
    module = tf.Module()
    signature = [tf.TensorSpec(given.shape, given.dtype) for given in inputs]
    module.ask = tf.function(lambda *given: operator(*given), input_signature=signature)
    tf.saved_model.save(module, str(path))
    loaded = tf.saved_model.load(str(path))

    def ask(*given: tf.Tensor) -> tf.Tensor:
        return loaded.ask(*given)

    return ask


def _carry(what: str, name: str, operator: Callable[..., Any], path: Path) -> None:
    dtype = TF_DTYPES[name]
    built, asked = _values(dtype)
    answer = _served(operator, (built,), path)(asked)
    values = answer.numpy()
    listed = (values if dtype in (tf.string, tf.complex64) else values.astype(np.float64)).tolist()
    dtypes.check_carried(what, name, listed, answer.dtype, asked.dtype)


def _values(dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
    """What a graph is built with, and what it is asked with."""
    if dtype == tf.string:
        return tf.constant(dtypes.BYTES_BUILT_WITH), tf.constant(dtypes.BYTES_ASKED_WITH)
    built, asked = (np.array(given).astype(dtype.as_numpy_dtype) for given in (dtypes.BUILT_WITH, dtypes.ASKED_WITH))
    return tf.constant(built), tf.constant(asked)


def _joined(given: tf.Tensor) -> tf.Tensor:
    return tf.concat((given, given), 0)


def _doubled(given: tf.Tensor) -> tf.Tensor:
    return tf.logical_or(given, given) if given.dtype == tf.bool else given + given


if __name__ == "__main__":
    sys.exit(run_task("workers.tf.factors.coverage", findings))
