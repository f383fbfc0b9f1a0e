"""Parity: both engines' artifacts compute one function. Pure comparison of answers, nothing is run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from contracts.bfloat16 import BFLOAT16, EPSILON, widen
from contracts.manifest import Comparison, Image, Signature, TensorSpec, Thresholds
from twinserve.tensors import Tensors, find_fault, rows_of

REL_FLOOR = 1e-3
"""From this size of the reference on, a difference counts as relative too: below, a share of it says nothing."""


class ParityError(Exception):
    """An engine's artifact does not compute the reference; the message says which one, where and by how much."""


@dataclass(frozen=True)
class Subject:
    """What is compared, and when it counts as equal."""

    signature: Signature
    image: Image | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)

    @property
    def scores(self) -> list[str]:
        """The outputs whose largest value in a row picks something: the image's, else every float one [rows,n>1]."""
        if self.image:
            return [self.image.output]
        specs = self.signature.outputs
        return [spec.name for spec in specs if _has_scores(spec)]


def _has_scores(spec: TensorSpec) -> bool:
    return spec.datatype.startswith("FP") and len(spec.shape) == 2 and spec.shape[1] not in (0, 1)


def compare(
    subject: Subject,
    rows: int | None,
    reference: Tensors,
    answers: Mapping[str, Tensors],
    labels: NDArray[np.int64] | None = None,
) -> Comparison:
    """Hold each engine's outputs, by name, against the reference's; `labels` has one a row of scores.

    `rows` is the inputs' number of rows, which the outputs must keep; None when the inputs have none. Raises
    ParityError naming the engine, the output, the size of the difference and the first row that differs.
    """
    for whose, outputs in (("reference", reference), *answers.items()):
        if fault := find_fault(outputs, subject.signature.outputs):
            raise ParityError(f"the outputs of {whose} {fault}")
        if rows is not None and (came := rows_of(outputs, subject.signature.outputs, rows)) != rows:
            raise ParityError(f"the outputs of {whose} have {came} rows, the inputs {rows}")
    scores = subject.scores
    if labels is not None and len(scores) != 1:
        raise ParityError(f"labels need one output of scores, FP32 [-1,n], to be held against; there are {scores}")
    max_abs, max_rel, agreement, accuracy = {}, {}, {}, {}
    for engine, outputs in answers.items():
        max_abs[engine], max_rel[engine] = _differences(engine, reference, outputs, subject.thresholds)
        shares = [_agreement(engine, name, reference[name], outputs[name], subject.thresholds) for name in scores]
        agreement[engine] = min(shares, default=1.0)
        if labels is not None:
            accuracy[engine] = _accuracy(engine, outputs[scores[0]], labels, subject.thresholds)
    return Comparison(
        rows=rows or 1,
        max_abs_diff=max_abs,
        max_rel_diff=max_rel,
        argmax_agreement=agreement if scores else None,
        accuracy=None if labels is None else accuracy,
    )


def _differences(engine: str, reference: Tensors, outputs: Tensors, thresholds: Thresholds) -> tuple[float, float]:
    """The largest absolute and relative difference over all float outputs. Raises ParityError."""
    largest = [(0.0, 0.0)]
    for name, expected in reference.items():
        actual = outputs[name]
        if actual.shape != expected.shape:
            shapes = f"{list(actual.shape)}, the reference has {list(expected.shape)}"
            raise ParityError(f"{engine} answers {name} with shape {shapes}")
        if expected.dtype == BFLOAT16:
            # So much comes of rounding alone, whatever was computed before.
            coarser = replace(thresholds, rtol=max(thresholds.rtol, EPSILON))
            largest.append(_float_differences(engine, name, widen(expected), widen(actual), coarser))
        elif expected.dtype.kind == "f":
            largest.append(_float_differences(engine, name, expected, actual, thresholds))
        elif not np.array_equal(actual, expected):
            first = _first_row(actual != expected)
            raise ParityError(
                f"{engine} differs from the reference in {name}, which must be equal; first on row {first}"
            )
    return max(pair[0] for pair in largest), max(pair[1] for pair in largest)


def _float_differences(
    engine: str, name: str, expected: NDArray[Any], actual: NDArray[Any], thresholds: Thresholds
) -> tuple[float, float]:
    if not expected.size:
        return 0.0, 0.0
    wide, size = expected.astype(np.float64), np.abs(expected.astype(np.float64))
    is_equal = actual == expected  # infinities of one sign too, which have no difference
    with np.errstate(invalid="ignore"):
        difference = np.where(is_equal, 0.0, np.abs(actual - wide))
    # Written so that NaN, which compares false with everything, counts as a difference, and infinity as no bound.
    is_near = is_equal | (np.isfinite(size) & (difference <= thresholds.atol + thresholds.rtol * size))
    if not is_near.all():
        first = _first_row(~is_near)
        by = np.atleast_1d(difference)[first].max()
        raise ParityError(
            f"{engine} differs from the reference in {name} by up to {difference.max():g}, more than "
            f"{thresholds.atol:g} + {thresholds.rtol:g} of its size; first on row {first}, by {by:g}"
        )
    is_large = np.isfinite(size) & (size >= REL_FLOOR)
    relative = difference[is_large] / size[is_large]
    return float(difference.max()), float(relative.max(initial=0.0))


def _agreement(engine: str, name: str, expected: NDArray[Any], actual: NDArray[Any], thresholds: Thresholds) -> float:
    if not expected.size:
        return 1.0
    is_same = actual.argmax(axis=1) == expected.argmax(axis=1)
    share = float(is_same.mean())
    if share < thresholds.min_argmax_agreement:
        first = int((~is_same).argmax())
        picks = f"{actual[first].argmax()} instead of {expected[first].argmax()}"
        raise ParityError(
            f"{engine} picks as the reference does on {share:.4%} of the rows, less than "
            f"{thresholds.min_argmax_agreement:.4%}, though every value of {name} is near: first {picks} on row {first}"
        )
    return share


def _accuracy(engine: str, scores: NDArray[Any], labels: NDArray[np.int64], thresholds: Thresholds) -> float:
    accuracy = float((scores.argmax(axis=1) == labels).mean())
    if thresholds.min_accuracy is not None and accuracy < thresholds.min_accuracy:
        raise ParityError(f"{engine} is right on {accuracy:.4%} of the rows, less than {thresholds.min_accuracy:.4%}")
    return accuracy


def _first_row(is_different: NDArray[np.bool_]) -> int:
    """The first index along the first axis at which anything differs; 0 for a scalar."""
    return int(np.argwhere(np.atleast_1d(is_different))[0][0])
