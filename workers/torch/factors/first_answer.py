"""A fresh process that answers one image from a TorchScript file: `python -m workers.torch.factors.first_answer`."""

import sys
from collections.abc import Callable
from pathlib import Path

from workers.factors.cold import tell_start
from workers.factors.forwards import Forward, Images


def _imported() -> Callable[[Path], Forward]:
    import torch

    def load(path: Path) -> Forward:
        network = torch.jit.load(str(path))
        return lambda images: _answer(network, images)

    def _answer(network: Callable[[torch.Tensor], torch.Tensor], images: Images) -> Images:
        with torch.inference_mode():
            logits: Images = network(torch.from_numpy(images)).numpy()
            return logits

    return load


if __name__ == "__main__":
    sys.exit(tell_start("TorchScript file", _imported))
