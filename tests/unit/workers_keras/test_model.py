"""The network in Keras and the way between its layouts and the canonical one."""

import numpy as np

from twinserve.reference import logits
from workers.canonical import SHAPES
from workers.tf.model import build_network, layer_weights, new_network, tensors_of
from workers.tf.train import canonical_tensors


def random_tensors() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    generator = np.random.default_rng(5)
    return {name: generator.normal(0, 0.05, shape).astype(np.float32) for name, shape in SHAPES.items()}


def test_network_has_the_contract_of_the_design() -> None:
    network = new_network()
    assert network.count_params() == 2_770_634
    assert {name: tensor.shape for name, tensor in canonical_tensors(network).items()} == SHAPES
    assert network(np.zeros((2, 28, 28), np.float32)).shape == (2, 10)


def test_layouts_there_and_back_change_nothing() -> None:
    tensors = random_tensors()
    for back in (tensors_of(layer_weights(tensors)), canonical_tensors(build_network(tensors))):
        assert back.keys() == tensors.keys()
        for name in tensors:
            np.testing.assert_array_equal(back[name], tensors[name])


def test_network_computes_what_the_reference_computes() -> None:
    tensors = random_tensors()
    images = np.random.default_rng(6).random((3, 28, 28), np.float32)
    np.testing.assert_allclose(build_network(tensors)(images), logits(tensors, images), atol=1e-4)
