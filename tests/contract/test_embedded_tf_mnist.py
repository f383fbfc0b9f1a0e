"""The shipped MNIST version as the embedded TF server answers it, to the official client and over REST."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.embedded_server import WAIT_S, Engine, content, model_list, pinned, predict_request, running_engine
from twinserve.digits import golden_digits
from twinserve.reference import load_weights, logits

pytestmark = pytest.mark.engines

SHIPPED = Path(__file__).resolve().parents[2] / "workers" / "weights" / "mnist"
VERSION = 1
TOLERANCE = 1e-4  # what another order of summation explains

# What the exporter writes, made by its own parts in a process that may import tensorflow.
EXPORT = """
import pathlib, sys
import tensorflow as tf
from workers.canonical import read_weights
from workers.tf.export import SIGNATURE, Servable
from workers.tf.model import build_network
servable = Servable(build_network(read_weights(pathlib.Path(sys.argv[1]))))
tf.saved_model.save(servable, sys.argv[2], signatures={SIGNATURE: servable.serve})
"""

Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def images() -> Floats:
    return golden_digits(20)[0]


@pytest.fixture(scope="module")
def expected(images: Floats) -> Floats:
    """What plain numpy makes of them with the same weights."""
    return logits(load_weights(SHIPPED / f"{VERSION}.safetensors"), images)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("mnist")
    weights, version = SHIPPED / f"{VERSION}.safetensors", folder / "model" / str(VERSION)
    command = [sys.executable, "-c", EXPORT, str(weights), str(version)]
    subprocess.run(command, check=True, capture_output=True)
    config = model_list(pinned(folder / "model", VERSION, name="mnist"))
    with running_engine(folder / "run", config) as engine:
        yield engine


def test_the_official_client_is_given_the_logits(engine: Engine, images: Floats, expected: Floats) -> None:
    import tensorflow as tf

    answer: Any = engine.predictions.Predict(predict_request("mnist", "", images=content(images)), timeout=WAIT_S)
    spec = answer.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("mnist", "serving_default", VERSION)
    assert answer.outputs.keys() == {"logits"}
    np.testing.assert_allclose(tf.make_ndarray(answer.outputs["logits"]), expected, rtol=0, atol=TOLERANCE)
    # Clients of TensorFlow Serving read this field.
    assert len(answer.outputs["logits"].float_val) == expected.size


@pytest.mark.parametrize(
    ("ask", "key"),
    [("instances", "predictions"), ("inputs", "outputs")],
)
def test_rest_is_given_the_logits(engine: Engine, images: Floats, expected: Floats, ask: str, key: str) -> None:
    status, told = engine.post(f"mnist/versions/{VERSION}:predict", {ask: images.tolist()})
    assert status == 200, told
    assert told.keys() == {key}
    np.testing.assert_allclose(np.array(told[key], np.float32), expected, rtol=0, atol=TOLERANCE)


def test_a_row_may_be_named_and_a_wrong_shape_is_refused(engine: Engine, images: Floats, expected: Floats) -> None:
    status, told = engine.post("mnist:predict", {"instances": [{"images": images[0].tolist()}]})
    assert status == 200, told
    np.testing.assert_allclose(told["predictions"], expected[:1], rtol=0, atol=TOLERANCE)
    status, told = engine.post("mnist:predict", {"instances": images[:1].reshape(1, 784).tolist()})
    assert (status, list(told)) == (400, ["error"])
