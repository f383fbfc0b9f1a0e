"""From a process that starts to its first answer: `python -m workers.tf.factors.cold_start`."""

import sys
from collections.abc import Iterator

from contracts.findings import Finding
from workers.factors.cold import measure_starts
from workers.factors.files import path_of
from workers.factors.task import Task, run_task
from workers.tf.factors.formats import FORMATS, read_network


def findings(task: Task) -> Iterator[Finding]:
    """Writes a SavedModel, and starts processes that answer from it. Raises BadWeights, OSError, SubprocessError."""
    (found,) = (known for known in FORMATS if known.name == "SavedModel")
    path = path_of(found, task)
    found.save(read_network(task.weights), path)
    return measure_starts(task, "workers.tf.factors.first_answer", path)


if __name__ == "__main__":
    sys.exit(run_task("workers.tf.factors.cold_start", findings))
