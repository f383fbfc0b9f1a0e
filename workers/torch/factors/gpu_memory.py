"""GPU memory that PyTorch takes at the start: `python -m workers.torch.factors.gpu_memory`."""

import sys
from collections.abc import Iterator

import torch

from contracts.findings import Finding
from workers.factors.gpu import measure_gpu
from workers.factors.task import Task, run_task


def findings(task: Task) -> Iterator[Finding]:
    """By default, and with half of the device allowed."""
    del task
    return measure_gpu("workers.torch.factors.gpu_start", ("default", "half"), torch.cuda.device_count())


if __name__ == "__main__":
    sys.exit(run_task("workers.torch.factors.gpu_memory", findings))
