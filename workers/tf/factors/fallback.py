"""What TensorFlow does when a GPU is asked for that is not there: `python -m workers.tf.factors.fallback`."""

import sys
from collections.abc import Callable, Iterator

import tensorflow as tf

from contracts.findings import Finding
from workers.factors.task import Task, reason_of, run_task
from workers.tf.factors.formats import read_network


def findings(task: Task) -> Iterator[Finding]:
    """Started without a GPU. Raises BadWeights, OSError."""
    network = read_network(task.weights)
    how = 'CUDA_VISIBLE_DEVICES empty; network called inside tf.device("/GPU:0"), '
    graph = tf.function(lambda images: network(images, training=False))
    for name, call in (("eager", network), ("tf.function", graph)):
        yield Finding(
            f"GPU asked for that is not there, {name}", how + "soft placement as it is by default", _asked(call)
        )
    tf.config.set_soft_device_placement(False)
    yield Finding("GPU asked for that is not there, soft placement off", how + "eager", _asked(network))


def _asked(call: Callable[[tf.Tensor], tf.Tensor]) -> str:
    try:
        with tf.device("/GPU:0"):
            answer = call(tf.zeros((2, 28, 28)))
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        return f"refused: {reason_of(error)}"
    return "answers on the CPU" if "CPU" in answer.device else f"answers on {answer.device}"


if __name__ == "__main__":
    sys.exit(run_task("workers.tf.factors.fallback", findings))
