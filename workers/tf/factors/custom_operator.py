"""A C++ operator of our own in TensorFlow: `python -m workers.tf.factors.custom_operator`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from contracts.findings import Finding
from workers.factors.extension import Extension, Operator, measure_extension
from workers.factors.task import Task, run_task


def findings(task: Task) -> Iterator[Finding]:
    """Build, answers, speed, SavedModel."""
    loaded: list[Any] = []

    def load(library: Path) -> Operator:
        loaded.append(tf.load_op_library(str(library)))
        return lambda given: loaded[0].twinserve_relu_squared(given).numpy()

    def export(path: Path) -> str:
        module = tf.Module()
        signature = [tf.TensorSpec([None], tf.float32)]
        module.ask = tf.function(lambda given: loaded[0].twinserve_relu_squared(given), input_signature=signature)
        tf.saved_model.save(module, str(path))
        return "SavedModel takes it"

    def extension() -> Extension:
        return Extension(
            source=Path(__file__).with_name("relu_squared.cc"),
            flags=[*tf.sysconfig.get_compile_flags(), *tf.sysconfig.get_link_flags()],
            load=load,
            composed=lambda given: tf.square(tf.nn.relu(given)).numpy(),
            export=export,
            served="workers.tf.factors.served_operator",
        )

    return measure_extension(task, extension)


if __name__ == "__main__":
    sys.exit(run_task("workers.tf.factors.custom_operator", findings))
