"""Size and time to load of every format: `python -m workers.torch.factors.serialization`."""

import functools
import sys
from collections.abc import Iterator

from contracts.findings import Finding
from workers.factors.files import measure_files
from workers.factors.task import Task, run_task
from workers.torch.factors.formats import FORMATS, read_network


def findings(task: Task) -> Iterator[Finding]:
    """Raises BadWeights, OSError."""
    network = read_network(task.weights)
    return measure_files(task, ((found, functools.partial(found.save, network)) for found in FORMATS))


if __name__ == "__main__":
    sys.exit(run_task("workers.torch.factors.serialization", findings))
