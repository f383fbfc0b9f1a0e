"""Eager, TorchScript, exported and compiled, of one network: `python -m workers.torch.factors.graphs`."""

import os
import sys
from collections.abc import Callable, Iterator

import torch

from contracts.findings import Finding
from workers.factors.graphs import Passes, measure_graphs
from workers.factors.task import Task, run_task
from workers.torch.factors.formats import example, export_program, read_network


def findings(task: Task) -> Iterator[Finding]:
    """Raises BadWeights, OSError."""
    # What is compiled here is no use to anybody else, and what others compiled would make our times too short.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(task.scratch / "inductor")
    network = read_network(task.weights)
    ways: dict[str, Callable[[], Passes]] = {
        "eager": lambda: _passes(network),
        "TorchScript (traced, frozen)": lambda: _passes(torch.jit.freeze(torch.jit.trace(network, example()))),
        "exported program": lambda: _passes(export_program(network).module()),
        "torch.compile": lambda: _passes(torch.compile(network, dynamic=False)),
    }
    return measure_graphs(task, ways)


def _passes(module: Callable[[torch.Tensor], torch.Tensor]) -> Passes:
    def of_rows(rows: int) -> Callable[[], object]:
        images = torch.rand(rows, 28, 28)

        def forward() -> object:
            with torch.inference_mode():
                return module(images)

        return forward

    return of_rows


if __name__ == "__main__":
    sys.exit(run_task("workers.torch.factors.graphs", findings))
