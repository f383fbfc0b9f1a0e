"""`python -m loadtest.bench.raw_forward --framework torch|tensorflow --version DIR`: forward passes and nothing else.

The limit that physics sets for a server of this model. Each line on standard input is "ROWS SECONDS", answered by a
line of JSON with the seconds and the latency of each pass, or "golden", answered by the logits of the version's golden
images. It ends when its standard input does. `--find-gpu` prints what torch knows of a GPU, and ends.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.golden import read_golden

Images = NDArray[np.float32]
Forward = Callable[[Images], NDArray[np.float32]]
LATENCIES_MOST = 100_000
_WARMING_PASSES = 3
"""Before a CUDA graph is recorded, so that libraries have chosen their kernels and taken their memory."""


def torch_forward(version: Path, *, on_gpu: bool, is_half: bool, has_graphs: bool) -> Forward:
    """Images FP32 in the machine's memory to logits FP32 there. One thread, as a worker of TorchServe's has here.

    Half precision computes in FP16. With graphs, a CUDA graph is recorded for each number of images and replayed.
    """
    import torch

    from loadtest.bench.archived_network import load_network

    torch.set_num_threads(1)
    (archive,) = version.glob("*.mar")
    dtype = torch.float16 if is_half else torch.float32
    device = torch.device("cuda" if on_gpu else "cpu")
    network = load_network(archive).to(device, dtype)

    def compute(images: Any) -> Any:
        return network(images)

    passes: Callable[[Any], Any] = _Graphs(network, device, dtype) if has_graphs else compute

    def forward(images: Images) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits = passes(torch.from_numpy(images).to(device, dtype))
            answer: NDArray[np.float32] = logits.float().cpu().numpy()
            return answer

    return forward


class _Graphs:
    """The network as recorded CUDA graphs, one for each number of images."""

    def __init__(self, network: Any, device: Any, dtype: Any) -> None:
        self._network = network
        self._device = device
        self._dtype = dtype
        self._recorded: dict[int, tuple[Any, Any, Any]] = {}

    def __call__(self, images: Any) -> Any:
        rows = len(images)
        if rows not in self._recorded:
            self._recorded[rows] = self._record(rows)
        given, graph, logits = self._recorded[rows]
        given.copy_(images)
        graph.replay()
        return logits

    def _record(self, rows: int) -> tuple[Any, Any, Any]:
        import torch

        given = torch.zeros((rows, 28, 28), device=self._device, dtype=self._dtype)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARMING_PASSES):
                self._network(given)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = self._network(given)
        return given, graph, logits


def tensorflow_forward(version: Path) -> Forward:
    """The SavedModel's serving function with TensorFlow's own choice of threads."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(version))
    function = loaded.signatures["serving_default"]
    (name,) = function.structured_input_signature[1]

    def forward(images: Images) -> NDArray[np.float32]:
        (logits,) = (value.numpy() for value in function(**{name: tf.constant(images)}).values())
        answer: NDArray[np.float32] = logits
        return answer

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


def answer_golden(forward: Forward, version: Path) -> dict[str, object]:
    """The logits of the golden images."""
    (images,) = read_golden(version / "golden.npz").inputs.values()
    return {"logits": forward(images).tolist()}


def describe_gpu() -> dict[str, object]:
    """The first GPU that torch sees; its name is empty when there is none."""
    import torch

    about: dict[str, object] = {"torch": torch.__version__, "cuda": torch.version.cuda or "", "name": ""}
    if torch.cuda.is_available():
        found = torch.cuda.get_device_properties(0)
        about |= {"name": found.name, "memory_bytes": found.total_memory}
    return about


def main() -> None:
    given = _parser().parse_args()
    if given.find_gpu:
        _say(json.dumps(describe_gpu()))
        return
    if given.framework == "torch":
        forward = torch_forward(given.version, on_gpu=given.gpu, is_half=given.half, has_graphs=given.graphs)
    else:
        forward = tensorflow_forward(given.version)
    _say("ready")
    for line in sys.stdin:
        if line == "golden\n":
            _say(json.dumps(answer_golden(forward, given.version)))
        else:
            rows, seconds = line.split()
            _say(json.dumps(measure(forward, int(rows), float(seconds))))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench.raw_forward", description=__doc__)
    parser.add_argument("--framework", choices=["torch", "tensorflow"], default="torch")
    parser.add_argument("--version", type=Path, default=Path(), help="the directory of a published version")
    parser.add_argument("--find-gpu", action="store_true", help="print what torch knows of a GPU, and end")
    parser.add_argument("--gpu", action="store_true", help="torch on the first GPU")
    parser.add_argument("--half", action="store_true", help="torch in FP16")
    parser.add_argument("--graphs", action="store_true", help="torch by CUDA graphs")
    return parser


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
