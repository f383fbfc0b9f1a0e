"""Training on a handful of made-up images: what tests/unit/workers_torch/test_train.py asks of the other program."""

import hashlib
import sys
from pathlib import Path

import numpy as np

from contracts.manifest import Weights, read_document
from tests.unit.workers_keras.made_up import POINTS, RECIPE, STEPS, EventFiles, made_up_data
from twinserve.reference import logits
from workers.canonical import read_weights
from workers.mnist.board import LEARNING_RATE, LOSS, MISTAKES
from workers.mnist.training import Recipe
from workers.tf.train import train_to_file


def test_writes_half_precision_weights_and_their_record(tmp_path: Path) -> None:
    data, out = made_up_data(), tmp_path / "weights.safetensors"
    seen: list[tuple[int, int]] = []
    weights = train_to_file(data, RECIPE, out, lambda step, steps, _: seen.append((step, steps)))
    assert seen == [(step, STEPS) for step in range(1, STEPS + 1)]
    assert read_document(tmp_path / "weights.json", Weights) == weights
    assert weights.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    assert weights.training == RECIPE.record("keras", weights.training.test_accuracy)
    guesses = logits(read_weights(out), data.test.images).argmax(1)
    assert (guesses == data.test.labels).mean() == weights.training.test_accuracy > 0.5


def test_same_recipe_same_weights_other_seed_other_weights(tmp_path: Path) -> None:
    def sha256(seed: int) -> str:
        recipe = Recipe(epochs=1, seed=seed, learning_rate=0.001, batch_size=32)
        return train_to_file(made_up_data(), recipe, tmp_path / "w.safetensors", lambda *_: None).sha256

    assert sha256(1) == sha256(1) != sha256(2)


def test_the_run_is_drawn_for_tensorboard(tmp_path: Path) -> None:
    losses: list[float] = []
    recorded = train_to_file(
        made_up_data(), RECIPE, tmp_path / "w.safetensors", lambda *told: losses.append(told[2]), tmp_path / "run"
    )
    events = EventFiles(tmp_path / "run")
    assert events.points() == POINTS
    np.testing.assert_allclose(events.scalars(LOSS), [losses[0], losses[-1]], rtol=1e-6)
    np.testing.assert_allclose(events.scalars(LEARNING_RATE), [0.001, 0.001 / STEPS], rtol=1e-5)
    assert events.picture_sizes(MISTAKES) == [(448, 280)] * 2
    assert {"Conv2D", "MatMul"} <= set(events.operations())
    assert train_to_file(made_up_data(), RECIPE, tmp_path / "w.safetensors", lambda *_: None) == recorded


def test_this_process_never_imported_torch() -> None:
    assert "torch" not in sys.modules
