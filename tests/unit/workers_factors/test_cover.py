"""What a served graph is asked with differs from what it was built with, in values alone."""

import numpy as np
import pytest

from workers.factors.dtypes import ADDED, ASKED_WITH, BUILT_WITH, MOVED, check_carried
from workers.factors.operators import Case, cases, check

PAIRS = list(zip(cases(), cases(1), strict=True))


@pytest.mark.parametrize(("built", "other"), PAIRS, ids=lambda case: case.name)
def test_every_case_is_asked_with_other_values_of_the_same_shapes(built: Case, other: Case) -> None:
    assert built.name == other.name
    assert [given.shape for given in built.inputs] == [given.shape for given in other.inputs]
    assert [given.dtype for given in built.inputs] == [given.dtype for given in other.inputs]
    assert all(stride > 0 for given in other.inputs for stride in given.strides)
    with pytest.raises(ValueError, match=r"."):  # an answer that was baked in is wrong
        check(built.expected, other.expected)


def test_a_branch_that_was_baked_in_answers_wrongly() -> None:
    (built,), (other,) = (
        [case for case in group if case.name.startswith("branch")] for group in zip(*PAIRS, strict=True)
    )
    baked_in = built.expected / built.inputs[0] * other.inputs[0]
    with pytest.raises(ValueError, match="off by"):
        check(np.asarray(baked_in), other.expected)


def test_what_a_dtype_carries_is_looked_at() -> None:
    right = [float(value) for value in ASKED_WITH]
    check_carried(MOVED, "FP32", right * 2, "float32", "float32")
    check_carried(ADDED, "FP32", [value * 2 for value in right], "float32", "float32")
    check_carried(ADDED, "BOOL", right, "bool", "bool")
    check_carried(ADDED, "BYTES", [b"cdcd", b"ee"], "string", "string")
    for answer in ([*BUILT_WITH, *BUILT_WITH], right, [right, right], [0.0] * 6):
        with pytest.raises(ValueError, match="expected"):
            check_carried(MOVED, "FP32", answer, "float32", "float32")
    with pytest.raises(ValueError, match="answered float64"):
        check_carried(MOVED, "FP32", right * 2, "float64", "float32")
