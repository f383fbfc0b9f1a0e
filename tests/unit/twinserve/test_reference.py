"""The numpy forward pass: against loops a child could check, and on the shipped weights."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.manifest import Weights, read_document
from twinserve.digits import golden_digits
from twinserve.reference import load_weights, logits

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ROOT / "workers" / "weights" / "mnist"
PROMISED_ACCURACY = {1: 0.975, 2: 0.983}


def random_weights() -> dict[str, NDArray[np.float32]]:
    generator = np.random.default_rng(0)
    shapes = {
        "conv.weight": (32, 1, 3, 3),
        "conv.bias": (32,),
        "dense.weight": (128, 32 * 26 * 26),
        "dense.bias": (128,),
        "logits.weight": (10, 128),
        "logits.bias": (10,),
    }
    return {name: generator.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


def test_agrees_with_plain_loops() -> None:
    weights = random_weights()
    image = np.random.default_rng(1).random((28, 28), np.float32)
    features = np.empty((32, 26, 26))
    for channel, kernel in enumerate(weights["conv.weight"][:, 0]):
        for row in range(26):
            for column in range(26):
                window = image[row : row + 3, column : column + 3]
                features[channel, row, column] = max(0, (window * kernel).sum() + weights["conv.bias"][channel])
    hidden = np.maximum(0, weights["dense.weight"] @ features.reshape(-1) + weights["dense.bias"])
    expected = weights["logits.weight"] @ hidden + weights["logits.bias"]
    answer = logits(weights, image[None])
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer[0], expected, atol=1e-4)


def test_rows_do_not_depend_on_their_neighbours() -> None:
    weights = random_weights()
    images = np.random.default_rng(2).random((300, 28, 28), np.float32)
    np.testing.assert_allclose(logits(weights, images)[[0, 299]], logits(weights, images[[0, 299]]), atol=1e-5)
    assert logits(weights, images[:0]).shape == (0, 10)


@pytest.mark.parametrize("version", [1, 2])
def test_shipped_weights_read_our_own_digits(version: int) -> None:
    images, labels = golden_digits()
    guesses = logits(load_weights(SHIPPED / f"{version}.safetensors"), images).argmax(1)
    assert (guesses == labels).sum() >= 62


@pytest.mark.long
@pytest.mark.parametrize("version", [1, 2])
def test_shipped_weights_reach_their_recorded_accuracy(version: int) -> None:
    from workers.mnist import MnistError, load_test_split

    folder = Path(os.environ.get("TWINSERVE_MNIST", ROOT.parent / "shared" / "mnist"))
    try:
        test = load_test_split(folder)
    except MnistError as error:
        pytest.skip(f"no MNIST (name its folder in TWINSERVE_MNIST): {error}")
    recorded = read_document(SHIPPED / f"{version}.json", Weights).training.test_accuracy
    guesses = logits(load_weights(SHIPPED / f"{version}.safetensors"), test.images).argmax(1)
    accuracy = float((guesses == test.labels).mean())
    # Rounding may tip an image or two that lie between two classes.
    assert accuracy == pytest.approx(recorded, abs=3e-4)
    assert accuracy >= PROMISED_ACCURACY[version]
