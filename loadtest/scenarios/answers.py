"""What came back, whichever way it came, and what is wrong with it. Pure."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from contracts.bfloat16 import BFLOAT16, widen
from contracts.oip_bodies import Array
from loadtest.known_answers import TOLERANCE
from loadtest.scenarios.questions import Question

ENGINES = ("torchserve", "tfserving")
_HALF_PRECISION = 2**-7  # a neighbour in BF16; FP16 is finer


class Fate(enum.StrEnum):
    """How a request ended. All but RIGHT are errors."""

    RIGHT = "right"  # answered, and nothing is wrong with the answer
    WRONG = "wrong"  # answered, and it is not what that version answers, or does not say who answered
    REFUSED = "refused"  # the gateway answered with an error
    LOST = "lost"  # sent, and no whole answer came back
    NOT_SENT = "not sent"  # too many answers were owed, or the load test fell behind


@dataclass(frozen=True)
class Answer:
    """A successful answer. `version` and `engine` as headers or metadata say, `told_version` as the body does.

    `outputs` are tensors [1, ...] by name; a classification has scores instead, [1, labels], and its label.
    """

    version: str
    engine: str
    told_version: str
    outputs: Mapping[str, Array] | None = None
    label: str | None = None
    scores: Array | None = None


@dataclass(frozen=True)
class Expectation:
    """What an answer must say of itself: one of these versions (any where empty), and this engine where one was named.

    `output` and `labels` tell how a label is read off the outputs, where the model has labels.
    """

    versions: frozenset[int]
    engine: str | None
    output: str | None
    labels: tuple[str, ...] = ()


def find_fault(question: Question, answer: Answer, expected: Expectation) -> str:
    """What is wrong with an answer; empty when nothing is. A label that is not the true one is the model's affair."""
    if not answer.version.isdecimal():
        return f"X-Model-Version is {answer.version!r}"
    if answer.told_version and answer.told_version != answer.version:
        return f"X-Model-Version is {answer.version}, the body says version {answer.told_version}"
    version = int(answer.version)
    if expected.versions and version not in expected.versions:
        return f"version {version} answered, expected {' or '.join(map(str, sorted(expected.versions)))}"
    if answer.engine not in ENGINES or expected.engine not in (None, answer.engine):
        return f"X-Engine is {answer.engine!r}, expected {expected.engine or ' or '.join(ENGINES)}"
    if version not in question.outputs:
        return ""
    if _is_answer_of(version, question, answer, expected):
        return ""
    others = [v for v in question.outputs if v != version and _is_answer_of(v, question, answer, expected)]
    return f"says version {version}, but " + (f"version {others[0]} computed it" if others else "did not compute this")


def find_label(answer: Answer, expected: Expectation) -> int | None:
    """The label's number that an answer gives; None when it gives none."""
    if answer.label is not None:
        if expected.labels:
            return expected.labels.index(answer.label) if answer.label in expected.labels else None
        return int(answer.label) if answer.label.isdecimal() else None
    outputs = answer.outputs or {}
    name = expected.output or (next(iter(outputs)) if len(outputs) == 1 else "")
    if name not in outputs or not outputs[name].size:
        return None
    return int(np.argmax(outputs[name]))


def _is_answer_of(version: int, question: Question, answer: Answer, expected: Expectation) -> bool:
    known = question.outputs[version]
    if answer.outputs is not None:
        return set(known) == set(answer.outputs) and all(_agree(known[name], answer.outputs[name]) for name in known)
    if answer.scores is None or expected.output is None or expected.output not in known:
        return True  # a classification of a model whose output nobody named: nothing to hold it against
    return _agree(_softmax(known[expected.output]), answer.scores)


def _agree(known: Array, came: Array) -> bool:
    if known.shape != came.shape:
        return False
    if known.dtype.kind == "O":
        return bool((known == came).all())
    tolerance = _HALF_PRECISION if known.dtype.itemsize == 2 and known.dtype.kind in "fV" else TOLERANCE
    known = widen(known) if known.dtype == BFLOAT16 else known
    return bool(np.allclose(came.astype(np.float64), known.astype(np.float64), rtol=tolerance, atol=tolerance))


def _softmax(logits: Array) -> Array:
    shifted = np.exp(logits.astype(np.float64) - logits.max())
    return np.asarray(shifted / shifted.sum())
