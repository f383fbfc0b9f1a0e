"""Two processes that learn together: `python -m workers.tf.factors.distribution`."""

import sys
from collections.abc import Iterator

from contracts.findings import Finding
from workers.factors.ranks import measure_ranks
from workers.factors.task import Task, run_task


def findings(task: Task) -> Iterator[Finding]:
    """One process, two threads, two processes."""
    return measure_ranks(task, "workers.tf.factors.rank", "MultiWorkerMirroredStrategy over gRPC")


if __name__ == "__main__":
    sys.exit(run_task("workers.tf.factors.distribution", findings))
