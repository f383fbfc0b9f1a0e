"""GPU memory that TensorFlow takes at the start: `python -m workers.tf.factors.gpu_memory`."""

import sys
from collections.abc import Iterator

import tensorflow as tf

from contracts.findings import Finding
from workers.factors.gpu import measure_gpu
from workers.factors.task import Task, run_task


def findings(task: Task) -> Iterator[Finding]:
    """By default, growing as needed, and limited to 1 GB."""
    del task
    gpus = len(tf.config.list_physical_devices("GPU"))  # which takes nothing yet
    return measure_gpu("workers.tf.factors.gpu_start", ("default", "growth", "limit 1 GB"), gpus)


if __name__ == "__main__":
    sys.exit(run_task("workers.tf.factors.gpu_memory", findings))
