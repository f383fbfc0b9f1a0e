"""What the training programs of both frameworks share, because it belongs to neither.

Recipe, command line, progress and outcome are the same whichever framework learns; `workers.torch.train` and
`workers.tf.train` hold what differs, in the same order and under the same names.
"""

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from contracts.manifest import Training, Weights, encode_document
from workers.canonical import BadWeights
from workers.mnist import Mnist, MnistError, load_mnist

MAX_SHIFT = 1
"""Pixels by which images move while learning: enough to stop the dense layer from learning positions by heart."""

EVALUATION_BATCH = 1000

INTERRUPTED = 130
_SEED_LIMIT = 2**32  # numpy's legacy generator, which Keras seeds too, takes no more

Framework = Literal["torch", "keras"]

OnStep = Callable[[int, int, float], None]
"""Told the steps done, the steps in all, and the mean loss an image of the last batch."""


@dataclass(frozen=True)
class Recipe:
    """How to train. The same recipe on the same machine gives the same weights."""

    epochs: int
    seed: int
    learning_rate: float
    batch_size: int

    def steps(self, images: int) -> int:
        """Batches in all, when an epoch has so many images; the last batch of an epoch may be smaller."""
        return self.epochs * -(-images // self.batch_size)

    def record(self, framework: Framework, test_accuracy: float) -> Training:
        """What the weights' record says about a training that followed this recipe."""
        return Training(
            framework=framework,
            epochs=self.epochs,
            seed=self.seed,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            test_accuracy=test_accuracy,
        )


class TrainToFile(Protocol):
    """What each framework brings: train, judge, and store the weights. Raises BadWeights, OSError."""

    def __call__(self, data: Mnist, recipe: Recipe, out: Path, on_step: OnStep, run: Path | None) -> Weights: ...


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


def run_program(module: str, framework: Framework, train_to_file: TrainToFile) -> int:
    """Run the command line of `python -m <module>`; returns the exit code. Raises SystemExit on wrong usage."""
    arguments = _parser(module, framework).parse_args()
    recipe = Recipe(arguments.epochs, arguments.seed, arguments.lr, arguments.batch_size)
    run = run_folder(arguments.logdir, framework) if arguments.logdir else None
    try:
        data = load_mnist(arguments.data)
        with StepReport(Console(stderr=True)) as report:
            weights = train_to_file(data, recipe, arguments.out, report.show, run)
    except (MnistError, BadWeights, OSError) as error:
        sys.stderr.write(f"training failed: {error}\n")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    if arguments.json:
        sys.stdout.buffer.write(encode_document(weights))
    else:
        sys.stdout.write(f"{arguments.out}: test accuracy {weights.training.test_accuracy:.2%}\n")
    return 0


def run_folder(logdir: Path, framework: Framework) -> Path:
    """A folder of its own for each run, since TensorBoard joins event files of one folder into one curve."""
    return logdir / f"{framework}-{time.strftime('%Y%m%d-%H%M%S')}"


def _parser(module: str, framework: Framework) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=f"Train the MNIST network in {framework}.")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the four MNIST files (default: download)")
    parser.add_argument("--epochs", type=_positive_int, default=1)
    parser.add_argument("--seed", type=_seed, default=0)
    parser.add_argument("--lr", type=_positive_float, default=0.001, help="learning rate at the start")
    parser.add_argument("--batch-size", type=_positive_int, default=32)
    parser.add_argument("--out", type=_weights_file, required=True, metavar="FILE", help="FILE.safetensors to write")
    parser.add_argument("--logdir", type=_logdir, metavar="DIR", help="write TensorBoard event files below DIR")
    parser.add_argument("--json", action="store_true", help="print the record as JSON on stdout")
    return parser


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def _positive_float(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < _SEED_LIMIT:
        raise argparse.ArgumentTypeError(f"{text} is not within 0 and {_SEED_LIMIT - 1}")
    return value


def _weights_file(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".safetensors":
        raise argparse.ArgumentTypeError(f"{text} must end in .safetensors; its record is written beside it as .json")
    # Told now, and not after the training whose result could not be stored.
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path.parent} is not a directory")
    return path


def _logdir(text: str) -> Path:
    if importlib.util.find_spec("tensorboard") is None:
        raise argparse.ArgumentTypeError("event files need the tensorboard package (`pip install tensorboard`)")
    return Path(text)
