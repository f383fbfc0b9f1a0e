"""Whether a breakpoint inside the model stops: `python -m workers.torch.factors.debugging`."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional

from contracts.findings import Finding
from workers.factors.stops import Stops, measure_stops
from workers.factors.task import Task, run_task
from workers.torch.factors.formats import example, export_program, read_network
from workers.torch.model import Network


class Stopping(Network):
    """The network, with a breakpoint after its convolution."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = functional.relu(self.conv(images.unsqueeze(1)))
        breakpoint()
        hidden = functional.relu(self.dense(features.flatten(1)))
        logits: torch.Tensor = self.logits(hidden)
        return logits


def findings(task: Task) -> Iterator[Finding]:
    """Eager, traced, scripted, exported, compiled. Raises BadWeights, OSError."""
    warnings.simplefilter("ignore")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(task.scratch / "inductor")
    network = Stopping()
    network.load_state_dict(read_network(task.weights).state_dict())
    network.eval()
    ways: dict[str, Callable[[], Callable[[], object]]] = {
        "eager": lambda: _pass(network),
        "TorchScript (traced)": lambda: _pass(torch.jit.trace(network, example(), check_trace=False)),
        "TorchScript (scripted)": lambda: _pass(torch.jit.script(network)),
        "exported program": lambda: _pass(export_program(network).module()),
        "torch.compile": lambda: _warm(_pass(torch.compile(network, dynamic=False))),
    }
    return measure_stops(ways, Stops(_can_read))


def _pass(module: Callable[[torch.Tensor], Any]) -> Callable[[], object]:
    def run() -> object:
        with torch.no_grad():
            return module(example())

    return run


def _warm(run: Callable[[], object]) -> Callable[[], object]:
    run()  # it compiles at its first call
    return run


def _can_read(value: Any) -> bool:
    try:
        return bool(type(value) is torch.Tensor and value.numpy().size)
    except (RuntimeError, TypeError):
        return False


if __name__ == "__main__":
    sys.exit(run_task("workers.torch.factors.debugging", findings))
