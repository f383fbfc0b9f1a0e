"""`python -m loadtest.bench.raw_forward --framework torch|tensorflow --version DIR`: forward passes and nothing else.

The limit that physics sets for a server of this model. Each line on standard input is "ROWS SECONDS"; the answer is a
line of JSON with the count of passes and the seconds they took. It ends when its standard input does.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Forward = Callable[[NDArray[np.float32]], object]
LATENCIES_MOST = 100_000


def torch_forward(version: Path) -> Forward:
    """One thread, as a worker of TorchServe's has on this machine."""
    import torch

    from loadtest.bench.archived_network import load_network

    torch.set_num_threads(1)
    (archive,) = version.glob("*.mar")
    network = load_network(archive)

    def forward(images: NDArray[np.float32]) -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(images)).numpy()

    return forward


def tensorflow_forward(version: Path) -> Forward:
    """The SavedModel's serving function with TensorFlow's own choice of threads."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(version))
    function = loaded.signatures["serving_default"]
    (name,) = function.structured_input_signature[1]

    def forward(images: NDArray[np.float32]) -> object:
        return [value.numpy() for value in function(**{name: tf.constant(images)}).values()]

    return forward


def measure(forward: Forward, rows: int, seconds: float) -> dict[str, object]:
    """Passes of `rows` images until the time is over, after one that is not counted."""
    images = np.random.default_rng(0).random((rows, 28, 28), np.float32)
    forward(images)
    latencies_s: list[float] = []
    started = last = time.perf_counter()
    while last - started < seconds and len(latencies_s) < LATENCIES_MOST:
        forward(images)
        now = time.perf_counter()
        latencies_s.append(now - last)
        last = now
    return {"seconds": last - started, "latencies_s": latencies_s}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench.raw_forward", description=__doc__)
    parser.add_argument("--framework", choices=["torch", "tensorflow"], required=True)
    parser.add_argument("--version", type=Path, required=True, help="the directory of a published version")
    given = parser.parse_args()
    forward = torch_forward(given.version) if given.framework == "torch" else tensorflow_forward(given.version)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        rows, seconds = line.split()
        sys.stdout.write(json.dumps(measure(forward, int(rows), float(seconds))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
