"""A second model to try publishing with: two inputs, two outputs, no picture. Each framework's samples build it.

`scores` = tanh(sum of the rows of TABLE that `ids` name) * `scale` + BIAS, and `top` is where the largest one is.
"""

from pathlib import Path

import numpy as np

from contracts.atomic import write_atomic
from contracts.manifest import Model, Signature, TensorSpec, encode_document

NAME = "ranker"
MODEL = Model(
    model=NAME,
    signature=Signature(
        inputs=(TensorSpec("ids", "INT64", (-1, 4)), TensorSpec("scale", "FP32", (-1, 1))),
        outputs=(TensorSpec("scores", "FP32", (-1, 3)), TensorSpec("top", "INT64", (-1,))),
    ),
)
IDS = 16
"""`ids` are 0 to 15; others count as the nearest of these."""

TABLE = np.random.default_rng(16).normal(0, 0.5, (IDS, 3)).astype(np.float32)
BIAS = np.array([0.1, 0.0, -0.1], np.float32)

SLOW_SIDE = 128
SLOW_HELP = "multiply matrices so many times a request: 1000 take some 0.1 s"


def write_description(folder: Path) -> None:
    """Write model.json, as `twinserve publish --describe` takes it. Raises OSError."""
    write_atomic(folder / "model.json", encode_document(MODEL))
