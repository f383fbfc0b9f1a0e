"""Loads a TorchScript file and asks it: `python -m workers.torch.factors.served_operator FILE [LIBRARY]`."""

import sys
from pathlib import Path

import torch

from workers.factors.extension import Operator, tell_served
from workers.torch.factors.formats import in_numpy


def _load(artifact: Path, library: Path | None) -> Operator:
    if library:
        torch.ops.load_library(str(library))
    return in_numpy(torch.jit.load(str(artifact)))


if __name__ == "__main__":
    sys.exit(tell_served(_load))
