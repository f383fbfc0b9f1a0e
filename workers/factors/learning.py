"""Training time and accuracy of a framework's own loop in this repository, with the recipe of the shipped weights."""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from contracts.findings import Finding
from workers.factors.task import Task, attempt
from workers.mnist import Mnist, Split, load_mnist
from workers.mnist.training import OnStep, Recipe

RECIPE = Recipe(epochs=1, seed=1, learning_rate=0.001, batch_size=32)
QUICK_IMAGES = 3_200

Train = Callable[[Mnist, Recipe, OnStep], Any]
Accuracy = Callable[[Any, Split], float]


def measure_learning(task: Task, train: Train, accuracy: Accuracy) -> Iterator[Finding]:
    """Seconds, milliseconds a step, and accuracy; or why there is none of them."""
    if task.data is None:
        why = "MNIST is not here: name its folder with --data or TWINSERVE_MNIST"
        yield Finding("one epoch", "", why_not=why)
        return
    data = load_mnist(task.data)
    images = QUICK_IMAGES if task.is_quick else len(data.train.labels)
    data = Mnist(Split(data.train.images[:images], data.train.labels[:images]), data.test)
    how = f"{RECIPE.steps(images)} steps of {RECIPE.batch_size} images, seed {RECIPE.seed}, Adam; usual threads"
    steps, networks = _Steps(), list[Any]()

    def learn() -> float:
        started = time.perf_counter()
        networks.append(train(data, RECIPE, steps.end))
        return time.perf_counter() - started

    yield attempt(f"training on {images} images", "s", f"{how}; the loop alone, without importing and reading", learn)
    if networks:
        yield Finding("a step", f"{how}; median over all steps but the first", steps.median_ms(), "ms")
        judged = f"{how}; share of the 10,000 test images read rightly"
        yield attempt("test accuracy", "%", judged, lambda: 100 * accuracy(networks[0], data.test))


class _Steps:
    def __init__(self) -> None:
        self._ended_at: list[float] = []

    def end(self, step: int, steps: int, loss: float) -> None:
        del step, steps, loss
        self._ended_at.append(time.perf_counter())

    def median_ms(self) -> float:
        pairs = zip(self._ended_at, self._ended_at[1:], strict=False)
        return statistics.median(later - earlier for earlier, later in pairs) * 1000
