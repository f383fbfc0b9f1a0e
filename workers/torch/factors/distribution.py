"""Two processes that learn together: `python -m workers.torch.factors.distribution`."""

import sys
from collections.abc import Iterator

from contracts.findings import Finding
from workers.factors.ranks import measure_ranks
from workers.factors.task import Task, run_task


def findings(task: Task) -> Iterator[Finding]:
    """One process, two threads, two processes."""
    return measure_ranks(task, "workers.torch.factors.rank", "DistributedDataParallel over gloo")


if __name__ == "__main__":
    sys.exit(run_task("workers.torch.factors.distribution", findings))
