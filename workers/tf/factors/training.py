"""Time and accuracy of this framework's training loop: `python -m workers.tf.factors.training`."""

import sys
from collections.abc import Iterator

from contracts.findings import Finding
from workers.factors.learning import measure_learning
from workers.factors.task import Task, run_task
from workers.tf.train import accuracy, train


def findings(task: Task) -> Iterator[Finding]:
    """Raises MnistError."""
    return measure_learning(task, train, accuracy)


if __name__ == "__main__":
    sys.exit(run_task("workers.tf.factors.training", findings))
