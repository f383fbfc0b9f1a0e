"""What is asked, with the answers that are right: golden rows of the version where they can be read, else drawn inputs.

Golden rows prove every sampled answer right. Drawn inputs prove only that both engines answer alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contracts.golden import read_golden
from contracts.layout import ModelPaths
from contracts.manifest import BadDocument
from contracts.oip_bodies import Array, encode_request
from loadtest.known_answers import TOLERANCE, KnownAnswers

DRAWN_ROWS = 16
_MOST_ROWS = 64
_DTYPES = {"FP16": np.float16, "FP32": np.float32, "FP64": np.float64}
_INTEGERS = {f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("U", "") for bits in (8, 16, 32, 64)}

Ask = Callable[[bytes, Mapping[str, str]], Mapping[str, Array]]
"""Sends one inference body with its headers, gives the outputs by name."""


class CannotAsk(Exception):
    """There is nothing that can be asked of this model, or no answer to be held against; the message says why."""


@dataclass(frozen=True)
class Questions:
    """Tensors [N, ...] by name; `origin` says in words where they come from."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    version: int
    origin: str

    @property
    def known(self) -> KnownAnswers:
        """For answers of the gateway."""
        return KnownAnswers(self.inputs, {self.version: self.outputs})

    def rows(self) -> list[dict[str, Array]]:
        """The inputs of each question, one row each."""
        count = len(next(iter(self.inputs.values())))
        return [{name: tensor[row : row + 1] for name, tensor in self.inputs.items()} for row in range(count)]

    def find_difference(self, number: int, outputs: Mapping[str, Array]) -> str:
        """How an answer to a question, counted round and round, differs; empty when it does not."""
        for name, tensors in self.outputs.items():
            expected = tensors[number % len(tensors)][None]
            answer = np.asarray(outputs.get(name, ()), np.float64)
            if answer.shape != expected.shape:
                return f"output {name!r} has shape {answer.shape}, expected {expected.shape}"
            distance = float(np.nan_to_num(np.abs(answer - expected), nan=np.inf).max(initial=0.0))
            if distance > TOLERANCE:
                return f"output {name!r} is {distance:.3g} away from what is known"
        return ""


def read_questions(repository: Path, model: str, version: int) -> Questions | None:
    """The golden rows of a version; None where the repository has none that can be read."""
    try:
        golden = read_golden(ModelPaths(repository, model).version(version).golden)
    except (OSError, BadDocument, ValueError, KeyError):
        return None
    inputs = {name: tensor[:_MOST_ROWS] for name, tensor in golden.inputs.items()}
    outputs = {name: tensor[:_MOST_ROWS] for name, tensor in golden.outputs.items()}
    return Questions(inputs, outputs, version, "the version's golden rows")


def draw_questions(signature: Sequence[Mapping[str, Any]], version: int, seed: int, ask: Ask) -> Questions:
    """Inputs drawn for a signature's inputs as /v2/models tells them, and what `ask` gets to them. Raises CannotAsk."""
    inputs = draw_inputs(signature, seed)
    rows = ({name: tensor[row : row + 1] for name, tensor in inputs.items()} for row in range(DRAWN_ROWS))
    answers = [ask(*encode_request(row)) for row in rows]
    outputs = {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
    return Questions(inputs, outputs, version, "drawn inputs, answers of the first engine")


def draw_inputs(signature: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Array]:
    """Tensors [DRAWN_ROWS, ...] by name. Raises CannotAsk."""
    generator = np.random.default_rng(seed)
    return {spec["name"]: _draw(spec, generator) for spec in signature}


def _draw(spec: Mapping[str, Any], generator: np.random.Generator) -> Array:
    shape = (DRAWN_ROWS, *(size if size > 0 else 1 for size in spec["shape"][1:]))
    datatype = str(spec["datatype"])
    if datatype in _DTYPES:
        return generator.random(shape).astype(_DTYPES[datatype])
    if datatype in _INTEGERS:
        return generator.integers(0, 2, shape).astype(_INTEGERS[datatype])
    raise CannotAsk(
        f"input {spec['name']!r} is {datatype}, for which no values can be drawn: run this where the repository is "
        "(TWINSERVE_REPOSITORY), whose golden rows are asked then"
    )
