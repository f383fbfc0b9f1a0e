"""A TorchScript model for trying publishing out: `python -m workers.torch.samples --out DIR`.

Writes DIR/ranker/model.pt, and model.json, its description, beside it; workers.tf.samples writes the same model.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from workers.ranker import BIAS, IDS, NAME, SLOW_HELP, SLOW_SIDE, TABLE, write_description


class Ranker(torch.nn.Module):
    """`ids` INT64 [N,4] and `scale` FP32 [N,1] to `scores` FP32 [N,3] and `top` INT64 [N], as workers.ranker says.

    `slow_steps` multiplications of matrices come before the answer and do not change it.
    """

    def __init__(self, slow_steps: int = 0) -> None:
        super().__init__()
        self.slow_steps = slow_steps
        self.last_id = IDS - 1
        self.register_buffer("table", torch.from_numpy(TABLE))
        self.register_buffer("bias", torch.from_numpy(BIAS))
        self.register_buffer("ballast", torch.eye(SLOW_SIDE))

    def forward(self, ids: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = self.table[ids.clamp(0, self.last_id)]
        scores = torch.tanh(chosen.sum(1)) * scale + self.bias
        turned = self.ballast
        for _ in range(self.slow_steps):
            turned = torch.matmul(turned, self.ballast)
        # Nought, but no compiler sees that: the squares' least value is.
        scores = scores + torch.square(turned).min()
        return scores, scores.argmax(1)


def write_ranker(folder: Path, slow_steps: int = 0) -> Path:
    """Write the model and its description below `folder`; returns the model's path. Raises OSError."""
    target = folder / NAME
    target.mkdir(parents=True, exist_ok=True)
    write_description(target)
    torch.jit.script(Ranker(slow_steps).eval()).save(target / "model.pt")
    return target / "model.pt"


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m workers.torch.samples", description="Write a TorchScript model.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--slow-steps", type=int, default=0, help=SLOW_HELP)
    given = parser.parse_args(arguments)
    try:
        write_ranker(given.out, given.slow_steps)
    except OSError as error:
        sys.stderr.write(f"workers.torch.samples: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
