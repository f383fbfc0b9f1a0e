"""What both exporters are asked and answer: a command line, inputs in, the artifact's own outputs and a report out."""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.exports import PROGRESS, ExportReport
from contracts.golden import Golden, read_golden, write_golden
from contracts.manifest import Model, encode_document, read_document

BATCH_ROWS = 250
"""Rows of a test set that are answered at once: bounds memory, whatever the set's size."""

_PROGRESS_ROWS = 2500

Tensors = Mapping[str, NDArray[Any]]
Ask = Callable[[Tensors], dict[str, NDArray[Any]]]
"""Lets the artifact answer: inputs by name to outputs by name."""


@dataclass(frozen=True)
class ExportOrder:
    """One version of one model, to be exported for one engine into the staged directory `out`.

    The artifact is made from `weights`, canonical safetensors, or from the finished `artifact` of the engine's
    framework; exactly one of them is there. Inputs and answers are contracts.golden files: the artifact's answers to
    `golden` go to `golden_outputs`, those to `test_inputs`, if there are any, to `test_outputs`.
    """

    model: Model
    version: int
    weights: Path | None
    artifact: Path | None
    golden: Path
    golden_outputs: Path
    test_inputs: Path | None
    test_outputs: Path | None
    report: Path
    out: Path

    @classmethod
    def from_command_line(cls, module: str, description: str) -> "ExportOrder":
        """Raises SystemExit on wrong usage, contracts.manifest.BadDocument and OSError on a bad model description."""
        parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
        parser.add_argument("--model-json", type=Path, required=True, help="what all versions of the model share")
        parser.add_argument("--version", type=int, required=True)
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--weights", type=Path, help="canonical safetensors file")
        source.add_argument("--artifact", type=Path, help="what the framework itself saved")
        parser.add_argument("--golden", type=Path, required=True, help="npz of inputs")
        parser.add_argument("--golden-outputs", type=Path, required=True, help="npz to write: the artifact's answers")
        parser.add_argument("--test-inputs", type=Path, help="npz of inputs with many rows")
        parser.add_argument("--test-outputs", type=Path, help="npz to write: the artifact's answers to them")
        parser.add_argument("--report", type=Path, required=True, help="JSON to write: what was found out")
        parser.add_argument("--out", type=Path, required=True, help="staged directory, which exists")
        given = vars(parser.parse_args())
        return cls(model=read_document(given.pop("model_json"), Model), **given)

    def answer(self, ask: Ask) -> None:
        """Store the artifact's answers to all inputs. Raises BadDocument, OSError, and what `ask` raises."""
        golden = read_golden(self.golden)
        write_golden(self.golden_outputs, Golden(outputs=ask(golden.inputs)))
        if self.test_inputs and self.test_outputs:
            test = read_golden(self.test_inputs)
            write_golden(self.test_outputs, Golden(outputs=in_batches(ask, test.inputs, _show)))

    def write_report(self, report: ExportReport) -> None:
        """Store what was found out. Raises OSError."""
        self.report.write_bytes(encode_document(report))


def in_batches(ask: Ask, inputs: Tensors, show: Callable[[int, int], None]) -> dict[str, NDArray[Any]]:
    """The answers to inputs that all have rows, asked BATCH_ROWS at a time; `show` hears rows done and rows in all."""
    rows = len(next(iter(inputs.values())))
    parts = []
    for start in range(0, rows, BATCH_ROWS):
        parts.append(ask({name: tensor[start : start + BATCH_ROWS] for name, tensor in inputs.items()}))
        show(min(start + BATCH_ROWS, rows), rows)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _show(done: int, rows: int) -> None:
    if done % _PROGRESS_ROWS == 0 or done == rows:
        sys.stdout.write(f"{PROGRESS}{done} of {rows} test rows answered\n")
        sys.stdout.flush()
