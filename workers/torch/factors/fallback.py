"""What PyTorch does when a GPU is asked for that is not there: `python -m workers.torch.factors.fallback`."""

import sys
from collections.abc import Callable, Iterator

import torch

from contracts.findings import Finding
from workers.factors.task import Task, reason_of, run_task
from workers.torch.factors.formats import example, read_network


def findings(task: Task) -> Iterator[Finding]:
    """Started without a GPU. Raises BadWeights, OSError."""
    network = read_network(task.weights)
    how = "CUDA_VISIBLE_DEVICES empty; "
    asked = _asked(lambda: network.to("cuda")(example().to("cuda")))
    yield Finding("GPU asked for that is not there", f'{how}network.to("cuda"), then asked', asked)
    chosen = "cuda" if torch.cuda.is_available() else "cpu"
    answer = _asked(lambda: network.to(chosen)(example().to(chosen)))
    yield Finding("GPU if there is one", f'{how}"cuda" if torch.cuda.is_available() else "cpu", chosen by us', answer)


def _asked(ask: Callable[[], torch.Tensor]) -> str:
    try:
        device = ask().device
    except (RuntimeError, AssertionError) as error:
        return f"refused: {reason_of(error)}"
    return "answers on the CPU" if device.type == "cpu" else f"answers on {device}"


if __name__ == "__main__":
    sys.exit(run_task("workers.torch.factors.fallback", findings))
