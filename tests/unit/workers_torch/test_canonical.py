"""The canonical weights file, whichever framework wrote it."""

import json
from pathlib import Path

import numpy as np
import pytest

from workers.canonical import SHAPES, BadWeights, read_weights, round_to_stored, write_weights
from workers.mnist.training import Recipe

TRAINING = Recipe(epochs=1, seed=0, learning_rate=0.001, batch_size=32).record("keras", 0.5)


def random_tensors() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    generator = np.random.default_rng(5)
    return round_to_stored({name: generator.normal(0, 1, shape).astype(np.float32) for name, shape in SHAPES.items()})


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    tensors = random_tensors()
    write_weights(tmp_path / "w.safetensors", tensors, TRAINING)
    again = read_weights(tmp_path / "w.safetensors")
    assert all((again[name] == tensors[name]).all() for name in SHAPES)


def test_transposed_views_are_stored_in_the_order_of_their_shape(tmp_path: Path) -> None:
    tensors = random_tensors()
    views = {name: np.asfortranarray(tensor) for name, tensor in tensors.items()}
    assert not views["dense.weight"].flags.c_contiguous
    straight = write_weights(tmp_path / "straight.safetensors", tensors, TRAINING)
    assert write_weights(tmp_path / "views.safetensors", views, TRAINING) == straight


def test_values_that_half_precision_cannot_hold_are_refused() -> None:
    tensors = random_tensors() | {"dense.bias": np.full(128, 1e6, np.float32)}
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
