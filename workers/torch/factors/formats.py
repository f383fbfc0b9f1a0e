"""The files in which PyTorch keeps a trained network, each with how it is written and how it is made to answer."""

import contextlib
import importlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from workers.canonical import read_weights
from workers.factors.forwards import Forward, Images
from workers.torch.model import Network

EXAMPLE_ROWS = 2
"""Of the images that a graph is traced with; one row would be taken for a constant."""


@dataclass(frozen=True)
class Format:
    """`save` writes a network to a path; `load` makes of that path something that answers."""

    name: str
    suffix: str
    save: Callable[[Network, Path], None]
    load: Callable[[Path], Forward]


def read_network(weights: Path) -> Network:
    """The network with canonical weights. Raises BadWeights, OSError."""
    network = Network()
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in read_weights(weights).items()})
    network.eval()
    return network


def example() -> torch.Tensor:
    """Images to trace with, FP32 [2,28,28]."""
    return torch.zeros(EXAMPLE_ROWS, 28, 28)


def export_program(network: torch.nn.Module) -> Any:
    """The network as torch.export's program, with any number of rows."""
    return torch.export.export(network, (example(),), dynamic_shapes=({0: torch.export.Dim("rows")},))


def in_numpy(module: Callable[[torch.Tensor], torch.Tensor]) -> Forward:
    """Numpy to numpy, without gradients."""

    def forward(images: Images) -> NDArray[np.float32]:
        with torch.inference_mode():
            answer: NDArray[np.float32] = module(torch.from_numpy(images)).numpy()
            return answer

    return forward


def _load_state(state: dict[str, torch.Tensor]) -> Forward:
    network = Network()
    network.load_state_dict(state)
    return in_numpy(network.eval())


def _save_traced(network: Network, path: Path) -> None:
    torch.jit.trace(network, example()).save(path)


def _save_exported(network: Network, path: Path) -> None:
    torch.export.save(export_program(network), path)


def _save_onnx(network: Network, path: Path) -> None:
    # The older exporter needs the package onnx and no other; it prints what it does.
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(
            network,
            (example(),),
            str(path),
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": {0: "rows"}, "logits": {0: "rows"}},
            dynamo=False,
        )


def _load_onnx(path: Path) -> Forward:
    runtime: Any = importlib.import_module("onnxruntime")  # of the extra `onnx`, which few have
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def forward(images: Images) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = session.run(None, {"images": images})[0]
        return answer

    return forward


FORMATS = (
    Format(
        "state dict",
        ".pth",
        lambda network, path: torch.save(network.state_dict(), path),
        lambda path: _load_state(torch.load(path, weights_only=True)),
    ),
    Format(
        "safetensors",
        ".safetensors",
        lambda network, path: save_file(network.state_dict(), path),
        lambda path: _load_state(load_file(path)),
    ),
    Format("TorchScript", ".pt", _save_traced, lambda path: in_numpy(torch.jit.load(str(path)))),
    Format("exported program", ".pt2", _save_exported, lambda path: in_numpy(torch.export.load(path).module())),
    Format("ONNX", ".onnx", _save_onnx, _load_onnx),
)
