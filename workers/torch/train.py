"""Train the network in PyTorch: `python -m workers.torch.train --data DIR --epochs N --out weights.safetensors`."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from contracts.manifest import Training, Weights, encode_document
from workers.canonical import SHAPES, BadWeights, round_to_stored, write_weights
from workers.mnist import Mnist, MnistError, Split, load_mnist, shuffled_batches
from workers.torch.model import Network

MAX_SHIFT = 1
"""Pixels by which images move while learning: enough to stop the dense layer from learning positions by heart."""

EVALUATION_BATCH = 1000

OnStep = Callable[[int, int, float], None]
"""Told the steps done, the steps in all, and the mean loss an image of the last batch."""


@dataclass(frozen=True)
class Recipe:
    """How to train. The same recipe on the same machine gives the same weights."""

    epochs: int
    seed: int
    learning_rate: float
    batch_size: int


def train(split: Split, recipe: Recipe, on_step: OnStep) -> Network:
    """Adam on the cross-entropy summed over each batch; the learning rate falls linearly to zero."""
    torch.manual_seed(recipe.seed)
    generator = np.random.default_rng(recipe.seed)
    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    steps = recipe.epochs * -(-len(split.labels) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    step = 0
    for _ in range(recipe.epochs):
        for batch in shuffled_batches(split, recipe.batch_size, MAX_SHIFT, generator):
            logits = network(torch.from_numpy(batch.images))
            loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(batch.labels), reduction="sum")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            on_step(step, steps, loss.item() / len(batch.labels))
    return network


def canonical_tensors(network: Network) -> dict[str, NDArray[np.float32]]:
    """The network's parameters under their canonical names."""
    state = network.state_dict()
    return {name: state[name].detach().numpy() for name in SHAPES}


def accuracy(network: Network, split: Split) -> float:
    """The share of images whose largest logit is their label's."""
    right = 0
    with torch.inference_mode():
        for start in range(0, len(split.labels), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            guesses = network(torch.from_numpy(split.images[part])).argmax(1).numpy()
            right += int((guesses == split.labels[part]).sum())
    return right / len(split.labels)


def train_to_file(data: Mnist, recipe: Recipe, out: Path, on_step: OnStep) -> Weights:
    """Train, judge the weights as they will be stored, store them with their record. Raises BadWeights, OSError."""
    network = train(data.train, recipe, on_step)
    stored = round_to_stored(canonical_tensors(network))
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in stored.items()})
    training = Training(
        framework="torch",
        epochs=recipe.epochs,
        seed=recipe.seed,
        learning_rate=recipe.learning_rate,
        batch_size=recipe.batch_size,
        test_accuracy=accuracy(network, data.test),
    )
    return write_weights(out, stored, training)


class StepReport:
    """Shows training on stderr: a bar on a terminal, else a plain line at every tenth of the way."""

    LINES = 10

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        loss = TextColumn("loss {task.fields[loss]:.4f}")
        self._console = console
        self._progress = Progress(*columns, loss, console=console, disable=not console.is_terminal)
        self._task = self._progress.add_task("training", total=None, loss=float("nan"))

    def __enter__(self) -> "StepReport":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, step: int, steps: int, loss: float) -> None:
        """Tell that `step` of `steps` is done, with the mean loss an image."""
        self._progress.update(self._task, completed=step, total=steps, loss=loss)
        crossed_a_line = step * self.LINES // steps > (step - 1) * self.LINES // steps
        if not self._console.is_terminal and crossed_a_line:
            self._console.print(f"training: step {step} of {steps}, loss {loss:.4f}", highlight=False)


def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = _parser().parse_args()
    recipe = Recipe(arguments.epochs, arguments.seed, arguments.lr, arguments.batch_size)
    console = Console(stderr=True)
    try:
        data = load_mnist(arguments.data)
        with StepReport(console) as report:
            weights = train_to_file(data, recipe, arguments.out, report.show)
    except (MnistError, BadWeights, OSError) as error:
        sys.stderr.write(f"training failed: {error}\n")
        return 1
    if arguments.json:
        sys.stdout.buffer.write(encode_document(weights))
    else:
        sys.stdout.write(f"{arguments.out}: test accuracy {weights.training.test_accuracy:.2%}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.torch.train", description="Train the MNIST network.")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the four MNIST files (default: download)")
    parser.add_argument("--epochs", type=_positive_int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=_positive_float, default=0.001, help="learning rate at the start")
    parser.add_argument("--batch-size", type=_positive_int, default=32)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="weights file; its .json lies beside")
    parser.add_argument("--json", action="store_true", help="print the record as JSON on stdout")
    return parser


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def _positive_float(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


if __name__ == "__main__":
    sys.exit(main())
