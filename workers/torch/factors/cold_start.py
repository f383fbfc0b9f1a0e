"""From a process that starts to its first answer: `python -m workers.torch.factors.cold_start`."""

import sys
from collections.abc import Iterator

from contracts.findings import Finding
from workers.factors.cold import measure_starts
from workers.factors.files import path_of
from workers.factors.task import Task, run_task
from workers.torch.factors.formats import FORMATS, read_network


def findings(task: Task) -> Iterator[Finding]:
    """Writes a TorchScript, and starts processes that answer from it. Raises BadWeights, OSError, SubprocessError."""
    (found,) = (known for known in FORMATS if known.name == "TorchScript")
    path = path_of(found, task)
    found.save(read_network(task.weights), path)
    return measure_starts(task, "workers.torch.factors.first_answer", path)


if __name__ == "__main__":
    sys.exit(run_task("workers.torch.factors.cold_start", findings))
