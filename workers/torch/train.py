"""Train the network in PyTorch: `python -m workers.torch.train --data DIR --epochs N --out weights.safetensors`.

Reads side by side with workers/tf/train.py: the same functions in the same order (docs/two-frameworks.md).
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray

from contracts.manifest import Weights
from workers.canonical import SHAPES, round_to_stored, write_weights
from workers.mnist import Mnist, Split, shuffled_batches
from workers.mnist.board import ACCURACY, LEARNING_RATE, LOSS, MISTAKES, has_point, mistakes_sheet
from workers.mnist.training import EVALUATION_BATCH, MAX_SHIFT, OnStep, Recipe, run_program
from workers.torch.model import Network

Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Learns from one batch of images FP32 [N,28,28] and labels INT64 [N]; returns the loss summed over it."""


def train(data: Mnist, recipe: Recipe, on_step: OnStep, board: "Board | None" = None) -> Network:
    """Adam on the cross-entropy summed over each batch; the learning rate falls linearly to zero."""
    torch.manual_seed(recipe.seed)
    generator = np.random.default_rng(recipe.seed)
    network = Network()
    steps = recipe.steps(len(data.train.labels))
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    take_step = make_step(network, optimizer)
    if board:
        board.show_graph(network)
    step = 0
    for _ in range(recipe.epochs):
        for images, labels in batches(data.train, recipe, generator):
            loss = take_step(images, labels).item() / len(labels)
            step += 1
            if board and has_point(step, steps):
                board.show_step(step, loss, schedule.get_last_lr()[0])
            schedule.step()
            on_step(step, steps, loss)
        if board:
            board.show_epoch(step, network, data.test)
    return network


def batches(
    split: Split, recipe: Recipe, generator: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """One epoch of images FP32 [N,28,28] and labels INT64 [N], shuffled and moved."""
    for batch in shuffled_batches(split, recipe.batch_size, MAX_SHIFT, generator):
        yield torch.from_numpy(batch.images), torch.from_numpy(batch.labels)


def make_step(network: Network, optimizer: torch.optim.Optimizer) -> Step:
    """One step of learning: forward, loss, gradients, update; run operation by operation."""

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = network(images)
        loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def predict(network: Network, images: NDArray[np.float32]) -> NDArray[np.int64]:
    """The digit of the largest logit for each image: FP32 [N,28,28] to INT64 [N]."""
    guesses = np.empty(len(images), np.int64)
    with torch.inference_mode():
        for start in range(0, len(images), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            guesses[part] = network(torch.from_numpy(images[part])).argmax(1).numpy()
    return guesses


def accuracy(network: Network, split: Split) -> float:
    """The share of images whose largest logit is their label's."""
    return float((predict(network, split.images) == split.labels).mean())


def canonical_tensors(network: Network) -> dict[str, NDArray[np.float32]]:
    """The network's parameters under their canonical names and in the canonical layout, which is PyTorch's."""
    state = network.state_dict()
    return {name: state[name].detach().numpy() for name in SHAPES}


def train_to_file(data: Mnist, recipe: Recipe, out: Path, on_step: OnStep, run: Path | None = None) -> Weights:
    """Train, judge the weights as they will be stored, store them with their record. Raises BadWeights, OSError.

    With `run`, a folder, TensorBoard's event files are written there.
    """
    with Board(run) if run else nullcontext() as board:
        network = train(data, recipe, on_step, board)
    stored = round_to_stored(canonical_tensors(network))
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in stored.items()})
    return write_weights(out, stored, recipe.record("torch", accuracy(network, data.test)))


class Board:
    """A run as TensorBoard shows it: graph, loss, learning rate, test accuracy, mistakes."""

    def __init__(self, run: Path) -> None:
        # TensorBoard's package imports tensorflow wherever it is installed, unless it finds this module of its own.
        sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run))

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def show_graph(self, network: Network) -> None:
        """Draw the operations from images to logits."""
        self._writer.add_graph(network, torch.zeros(1, 28, 28))

    def show_step(self, step: int, loss: float, learning_rate: float) -> None:
        """Draw the mean loss an image, and the learning rate that the step used."""
        self._writer.add_scalar(LOSS, loss, step, new_style=True)
        self._writer.add_scalar(LEARNING_RATE, learning_rate, step, new_style=True)

    def show_epoch(self, step: int, network: Network, test: Split) -> None:
        """Draw how the network does on the test images after so many steps, and where it errs."""
        guesses = predict(network, test.images)
        self._writer.add_scalar(ACCURACY, (guesses == test.labels).mean(), step, new_style=True)
        self._writer.add_image(MISTAKES, mistakes_sheet(test, guesses), step, dataformats="HW")
        self._writer.flush()


def main() -> int:
    """Run the command line; returns the exit code."""
    return run_program("workers.torch.train", "torch", train_to_file)


if __name__ == "__main__":
    sys.exit(main())
