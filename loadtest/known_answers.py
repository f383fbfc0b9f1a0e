"""Requests whose right answer is known for every version, so that no wrong or mislabelled answer goes unnoticed.

They are the golden rows of the versions, which publishing proved against a reference; nothing here computes a model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contracts.golden import read_golden
from contracts.layout import ModelPaths
from contracts.oip_bodies import Array, BadAnswer, decode_answer, encode_request

TOLERANCE = 1e-3
"""Largest difference of a right answer, in units of the output; a hundred times what engines differ by."""

_TELLING = 10 * TOLERANCE  # answers closer than this could be taken for one another


class NotTelling(ValueError):
    """The golden rows cannot tell the versions apart; the message says which."""


@dataclass(frozen=True)
class Case:
    """One request of one row: its body and headers."""

    body: bytes
    headers: Mapping[str, str]


class KnownAnswers:
    """The cases, and what each version answers to them.

    `inputs`: tensors [N, ...] by name, N cases. `outputs`: by version, tensors [N, ...] by name. Raises NotTelling
    when two versions answer a case alike.
    """

    def __init__(self, inputs: Mapping[str, Array], outputs: Mapping[int, Mapping[str, Array]]) -> None:
        counts = {
            len(tensor) for tensor in (*inputs.values(), *(t for named in outputs.values() for t in named.values()))
        }
        if len(counts) != 1:
            raise NotTelling(f"golden tensors have different numbers of rows: {sorted(counts)}")
        self._outputs = outputs
        self._check_telling(counts.pop())

        def row(index: int) -> Case:
            return Case(*encode_request({name: tensor[index : index + 1] for name, tensor in inputs.items()}))

        self.cases = tuple(row(index) for index in range(len(next(iter(inputs.values())))))

    @classmethod
    def read(cls, repository: Path, model: str, versions: Sequence[int]) -> "KnownAnswers":
        """From the golden files of published versions. Raises OSError, ValueError; NotTelling when inputs differ."""
        paths = ModelPaths(repository, model)
        golden = {version: read_golden(paths.version(version).golden) for version in versions}
        first, *others = golden.values()
        for other in others:
            names = set(first.inputs) | set(other.inputs)
            if any(not np.array_equal(first.inputs.get(n, ()), other.inputs.get(n, ())) for n in names):
                raise NotTelling(f"versions {sorted(golden)} of {model} have different golden inputs")
        return cls(first.inputs, {version: rows.outputs for version, rows in golden.items()})

    def find_fault(self, case: int, version: str | None, content: bytes, header_length: str | None) -> str:
        """What is wrong with an answer to a case that says it is of `version`; empty when it is right."""
        known = {str(v): v for v in self._outputs}
        if version not in known:
            return f"X-Model-Version {version!r} is none of {', '.join(known)}"
        try:
            answer = decode_answer(content, header_length)
        except BadAnswer as error:
            return str(error)
        if self._distance(case, known[version], answer) <= TOLERANCE:
            return ""
        others = [v for v in self._outputs if self._distance(case, v, answer) <= TOLERANCE]
        if others:
            return f"says version {version}, but version {others[0]} computed it"
        return f"says version {version}, but is {self._distance(case, known[version], answer):.3g} away from it"

    def _distance(self, case: int, version: int, answer: Mapping[str, Array]) -> float:
        """The largest difference from what a version answers; infinite for other names, shapes or NaN."""
        expected = {name: tensor[case : case + 1] for name, tensor in self._outputs[version].items()}
        if set(expected) != set(answer):
            return np.inf
        return max(_distance(expected[name], answer[name]) for name in expected)

    def _check_telling(self, cases: int) -> None:
        versions = sorted(self._outputs)
        for older in versions:
            for newer in (v for v in versions if v > older):
                for case in range(cases):
                    answer = {name: tensor[case : case + 1] for name, tensor in self._outputs[newer].items()}
                    distance = self._distance(case, older, answer)
                    if distance < _TELLING:
                        raise NotTelling(f"versions {older} and {newer} answer case {case} only {distance:.3g} apart")


def _distance(expected: Array, answer: Array) -> float:
    if expected.shape != answer.shape or expected.dtype != answer.dtype:
        return np.inf
    differences = np.abs(expected.astype(np.float64) - answer.astype(np.float64))
    return float(np.nan_to_num(differences, nan=np.inf).max(initial=0.0))
