"""Training on a handful of made-up images."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.manifest import Weights, read_document
from workers.canonical import SHAPES, BadWeights, read_weights, round_to_stored
from workers.mnist import Mnist, Split
from workers.torch.model import Network
from workers.torch.train import Recipe, accuracy, canonical_tensors, train_to_file

RECIPE = Recipe(epochs=2, seed=3, learning_rate=0.001, batch_size=8)


@pytest.fixture
def data() -> Mnist:
    """Ten classes told apart by which row is lit: learnt at a glance."""
    labels = np.arange(60, dtype=np.int64) % 10
    images = np.zeros((60, 28, 28), np.float32)
    images[np.arange(60), 2 * labels + 4] = 1
    split = Split(images, labels)
    return Mnist(split, split)


def test_network_has_the_contract_of_the_design() -> None:
    network = Network()
    assert sum(parameter.numel() for parameter in network.parameters()) == 2_770_634
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == SHAPES
    assert network(torch.zeros(2, 28, 28)).shape == (2, 10)


def test_writes_half_precision_weights_and_their_record(data: Mnist, tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    seen: list[tuple[int, int]] = []
    weights = train_to_file(data, RECIPE, out, lambda step, steps, _: seen.append((step, steps)))
    assert seen == [(step, 16) for step in range(1, 17)]
    assert read_document(tmp_path / "weights.json", Weights) == weights
    assert weights.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    assert weights.training.framework == "torch"
    assert out.stat().st_size < 2 * 2_770_634 + 1000
    network = Network()
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in read_weights(out).items()})
    assert accuracy(network, data.test) == weights.training.test_accuracy > 0.5


def test_same_recipe_same_weights_other_seed_other_weights(data: Mnist, tmp_path: Path) -> None:
    def sha256(seed: int) -> str:
        recipe = Recipe(epochs=1, seed=seed, learning_rate=0.001, batch_size=32)
        return train_to_file(data, recipe, tmp_path / "w.safetensors", lambda *_: None).sha256

    assert sha256(1) == sha256(1) != sha256(2)


def test_values_that_half_precision_cannot_hold_are_refused() -> None:
    tensors = canonical_tensors(Network())
    tensors["dense.bias"] = np.full(128, 1e6, np.float32)
    with pytest.raises(BadWeights, match=r"dense\.bias holds values"):
        round_to_stored(tensors)


def test_a_file_of_other_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"nonsense")
    with pytest.raises(BadWeights, match="not a safetensors file"):
        read_weights(path)
    header = json.dumps({"__metadata__": {}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(BadWeights, match=r"holds \{\}, expected"):
        read_weights(path)
