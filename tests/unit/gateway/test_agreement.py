"""When two answers agree: one table."""

import numpy as np
import pytest

from contracts.bfloat16 import narrow
from contracts.byte_strings import array_of
from gateway.core.agreement import Tolerance, find_difference, max_abs_diff
from gateway.core.tensors import Tensor

TOLERANCE = Tolerance(atol=0.1, rtol=0.01)
NAN = np.nan


def floats(*values: float) -> dict[str, Tensor]:
    return {"y": np.array(values, np.float32)}


def bf16(*values: float) -> dict[str, Tensor]:
    return {"y": narrow(np.array(values, np.float32))}


def texts(*values: bytes) -> dict[str, Tensor]:
    return {"y": array_of(values, (len(values),))}


@pytest.mark.parametrize(
    ("right", "answer", "problem", "apart"),
    [
        (floats(1, 2), floats(1, 2), "", 0),
        (floats(1, 100), floats(1.0625, 101), "", 1),
        (floats(1, 100), floats(1.109375, 100), "", 0.109375),
        (floats(1, 100), floats(1.25, 100), "y differs by 0.25, allowed are 0.1 + 0.01 of the value", 0.25),
        (floats(100), floats(101.5), "y differs by 1.5, allowed are 0.1 + 0.01 of the value", 1.5),
        (floats(), floats(), "", None),
        (floats(1), floats(1, 2), "y is float32 [2], expected float32 [1]", None),
        (floats(1), {"y": np.array([1.0])}, "y is float64 [1], expected float32 [1]", 0),
        (floats(1), {"z": np.array([1.0])}, "expected outputs ['y'], got ['z']", None),
        ({"y": np.array([1, 2])}, {"y": np.array([1, 2])}, "", None),
        ({"y": np.array([1, 2])}, {"y": np.array([1, 3])}, "y differs", None),
        (bf16(1, 100), bf16(1, 100), "", 0),
        (bf16(100), bf16(100.5), "", 0.5),
        (bf16(1000), bf16(1004), "", 4),
        (bf16(1000), bf16(1016), "y differs by 16, allowed are 0.1 + 0.01 of the value", 16),
        (bf16(NAN, np.inf), bf16(NAN, np.inf), "", 0),
        (bf16(1), floats(1), "y is float32 [1], expected [('bfloat16', '<u2')] [1]", 0),
        (texts(b"a", b""), texts(b"a", b""), "", None),
        (texts(b"a", b""), texts(b"a", b"b"), "y differs", None),
    ],
)
def test_agreement(right: dict[str, Tensor], answer: dict[str, Tensor], problem: str, apart: float | None) -> None:
    assert find_difference(right, answer, TOLERANCE) == problem
    assert max_abs_diff(right, answer) == apart


def test_what_is_no_number_on_both_sides_agrees() -> None:
    assert find_difference(floats(NAN, 1), floats(NAN, 1), TOLERANCE) == ""
    assert find_difference(floats(NAN, 1), floats(1, 1), TOLERANCE).startswith("y differs")


def test_the_largest_difference_is_over_all_outputs() -> None:
    right = {"y": np.array([1.0]), "z": np.array([5.0])}
    assert max_abs_diff(right, {"y": np.array([1.5]), "z": np.array([3.0])}) == 2.0


def test_a_number_where_the_right_answer_has_none_is_infinitely_far_off() -> None:
    right = {"y": np.array([NAN, 1.0, np.inf]), "z": np.array([2.0])}
    same = {name: tensor.copy() for name, tensor in right.items()}
    assert max_abs_diff(right, same) == 0.0
    off = same | {"y": np.array([3.0, 1.0, np.inf])}
    assert max_abs_diff(right, off) == np.inf
    assert find_difference(right, off, Tolerance()) == "y differs by inf, allowed are 0.001 + 0.001 of the value"
