"""What both exporters are asked and answer: one command line, golden inputs in, the artifact's own outputs out."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.manifest import Model, read_document


@dataclass(frozen=True)
class ExportOrder:
    """One version of one model, to be exported for one engine into the staged directory `out`.

    `golden` is an npz of input tensors by name; the artifact's answers to them are written to `golden_outputs`.
    """

    model: Model
    version: int
    weights: Path
    golden: Path
    golden_outputs: Path
    out: Path

    @classmethod
    def from_command_line(cls, module: str, description: str) -> "ExportOrder":
        """Raises SystemExit on wrong usage, contracts.manifest.BadDocument and OSError on a bad model description."""
        parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
        parser.add_argument("--model-json", type=Path, required=True, help="what all versions of the model share")
        parser.add_argument("--weights", type=Path, required=True, help="canonical safetensors file")
        parser.add_argument("--version", type=int, required=True)
        parser.add_argument("--golden", type=Path, required=True, help="npz of input tensors by name")
        parser.add_argument("--golden-outputs", type=Path, required=True, help="npz to write: the artifact's answers")
        parser.add_argument("--out", type=Path, required=True, help="staged directory, which exists")
        given = parser.parse_args()
        return cls(
            model=read_document(given.model_json, Model),
            version=given.version,
            weights=given.weights,
            golden=given.golden,
            golden_outputs=given.golden_outputs,
            out=given.out,
        )

    def read_golden(self) -> dict[str, NDArray[np.generic]]:
        """The golden inputs by name. Raises OSError."""
        with np.load(self.golden, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}

    def write_golden_outputs(self, outputs: Mapping[str, NDArray[np.generic]]) -> None:
        """Store the artifact's answers. Raises OSError."""
        with self.golden_outputs.open("wb") as file:
            np.savez(file, allow_pickle=False, **outputs)
