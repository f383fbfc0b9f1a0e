"""When the answers of two artifacts count as one function's."""

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.bfloat16 import narrow
from contracts.byte_strings import array_of
from contracts.manifest import Comparison, Image, Signature, TensorSpec, Thresholds
from twinserve.parity import ParityError, Subject, compare

REFERENCE = np.array([[0, 1], [5, 2], [3, 3.5]], np.float32)
IDS = TensorSpec("ids", "INT64", (-1, 4))
LOGITS = TensorSpec("logits", "FP32", (-1, 2))
TOP = TensorSpec("top", "INT64", (-1,))
IMAGES = TensorSpec("images", "FP32", (-1, 1, 1))


def subject(*outputs: TensorSpec, thresholds: Thresholds | None = None) -> Subject:
    return Subject(Signature((IDS,), outputs or (LOGITS,)), thresholds=thresholds or Thresholds())


def of(
    output: NDArray[np.float32],
    reference: NDArray[np.float32] = REFERENCE,
    thresholds: Thresholds | None = None,
    labels: NDArray[np.int64] | None = None,
) -> Comparison:
    """What tfserving's `output` comes to."""
    answers = {"tfserving": {"logits": output}}
    return compare(subject(thresholds=thresholds), len(reference), {"logits": reference}, answers, labels)


def test_the_comparison_records_each_engine() -> None:
    near = REFERENCE.copy()
    near[1, 0] += np.float32(5e-5)
    answers = {"torchserve": {"logits": REFERENCE}, "tfserving": {"logits": near}}
    made = compare(subject(), 3, {"logits": REFERENCE}, answers, np.array([1, 0, 0]))
    assert made.rows == 3
    assert made.max_abs_diff == {"torchserve": 0, "tfserving": pytest.approx(5e-5, rel=0.05)}
    assert made.max_rel_diff == {"torchserve": 0, "tfserving": pytest.approx(1e-5, rel=0.05)}
    assert made.argmax_agreement == {"torchserve": 1, "tfserving": 1}
    assert made.accuracy == {"torchserve": 2 / 3, "tfserving": 2 / 3}


def test_bf16_may_differ_by_one_rounding_and_bytes_by_nothing() -> None:
    half, text = TensorSpec("half", "BF16", (-1,)), TensorSpec("text", "BYTES", (-1,))
    reference = {"half": narrow(np.array([100.0, 1.0])), "text": array_of([b"a", b"b"], (2,))}
    near = {**reference, "half": narrow(np.array([100.5, 1.0]))}
    far = {**reference, "half": narrow(np.array([101.0, 1.0]))}
    other = {**reference, "text": array_of([b"a", b"c"], (2,))}
    made = compare(subject(half, text), 2, reference, {"tfserving": near})
    assert (made.max_abs_diff, made.argmax_agreement) == ({"tfserving": 0.5}, None)
    with pytest.raises(ParityError, match=r"differs from the reference in half by up to 1, .* first on row 0"):
        compare(subject(half, text), 2, reference, {"tfserving": far})
    with pytest.raises(ParityError, match="differs from the reference in text, which must be equal; first on row 1"):
        compare(subject(half, text), 2, reference, {"tfserving": other})


def test_a_difference_names_engine_output_size_and_first_row() -> None:
    far = REFERENCE.copy()
    far[1, 0] += np.float32(0.25)
    far[2, 0] -= np.float32(0.5)
    said = r"^tfserving differs .* in logits by up to 0\.5, more than 0\.0001 \+ 1e-05 .*; first on row 1, by 0\.25$"
    with pytest.raises(ParityError, match=said):
        of(far)
    assert of(far, thresholds=Thresholds(atol=0.5, min_argmax_agreement=0)).max_abs_diff == {"tfserving": 0.5}


@pytest.mark.parametrize(("rtol", "is_near"), [(1e-4, True), (9e-5, False)])
def test_a_large_value_may_differ_by_a_share_of_its_size(rtol: float, is_near: bool) -> None:
    reference = np.array([[1024, 0]], np.float32)
    output = reference + np.array([[0.1, 0]], np.float32)
    if is_near:
        assert of(output, reference, Thresholds(atol=0, rtol=rtol)).max_rel_diff["tfserving"] < 1e-4
    else:
        with pytest.raises(ParityError, match="differs from the reference"):
            of(output, reference, Thresholds(atol=0, rtol=rtol))


def test_tiny_values_have_no_relative_difference() -> None:
    reference = np.array([[1e-9, 1]], np.float32)
    assert of(np.array([[0, 1]], np.float32), reference).max_rel_diff == {"tfserving": 0}


def test_another_class_is_refused_however_small_the_difference() -> None:
    reference = np.array([[1, 1.00001], [0, 1]], np.float32)
    output = np.array([[1.00001, 1], [0, 1]], np.float32)
    with pytest.raises(
        ParityError, match=r"tfserving picks .* on 50\.0000% of the rows.*first 0 instead of 1 on row 0"
    ):
        of(output, reference)
    made = of(output, reference, Thresholds(min_argmax_agreement=0.5))
    assert made.argmax_agreement == {"tfserving": 0.5}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_is_no_parity(value: float) -> None:
    broken = REFERENCE.copy()
    broken[2, 1] = value
    with pytest.raises(ParityError, match="first on row 2"):
        of(broken)
    with pytest.raises(ParityError, match="first on row 2"):
        of(REFERENCE, broken)


def test_infinities_of_one_sign_are_equal_and_nan_is_not_even_itself() -> None:
    masked = REFERENCE.copy()
    masked[:, 0] = -np.inf
    assert of(masked.copy(), masked).max_abs_diff == {"tfserving": 0}
    masked[1, 0] = np.nan
    with pytest.raises(ParityError, match="first on row 1"):
        of(masked.copy(), masked)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (REFERENCE[:2], "the outputs of tfserving have 2 rows, the inputs 3"),
        (REFERENCE.astype(np.float64), r"have logits as float64 \[3, 2\], expected float32 \[-1, 2\]"),
        (REFERENCE[:, :1], r"have logits as float32 \[3, 1\]"),
        (REFERENCE[:0], "have no rows"),
    ],
)
def test_outputs_of_another_shape_or_type_are_refused(output: NDArray[np.float32], said: str) -> None:
    with pytest.raises(ParityError, match=said):
        of(output)


def test_free_dimensions_must_come_out_alike() -> None:
    free = TensorSpec("logits", "FP32", (-1, -1, 2))
    one, two = np.zeros((3, 1, 2), np.float32), np.zeros((3, 2, 2), np.float32)
    with pytest.raises(ParityError, match=r"answers logits with shape \[3, 2, 2\], the reference has \[3, 1, 2\]"):
        compare(subject(free), 3, {"logits": one}, {"tfserving": {"logits": two}})


def test_integers_must_be_equal() -> None:
    reference = {"logits": REFERENCE, "top": np.array([1, 0, 1])}
    other = {"logits": REFERENCE, "top": np.array([1, 0, 0])}
    with pytest.raises(ParityError, match="differs from the reference in top, which must be equal; first on row 2"):
        compare(subject(LOGITS, TOP), 3, reference, {"tfserving": other})
    with pytest.raises(ParityError, match=r"outputs of tfserving are \['logits'\], expected \['logits', 'top'\]"):
        compare(subject(LOGITS, TOP), 3, reference, {"tfserving": {"logits": REFERENCE}})


def test_outputs_without_scores_have_no_argmax() -> None:
    scalar = TensorSpec("mean", "FP32", ())
    answer = {"mean": np.ones((), np.float32), "top": np.array([2])}
    made = compare(subject(scalar, TOP), None, answer, {"tfserving": answer})
    assert (made.rows, made.argmax_agreement, made.accuracy) == (1, None, None)


def test_labels_need_one_row_of_scores() -> None:
    tops = {"top": np.array([0, 1])}
    with pytest.raises(ParityError, match=r"labels need one output of scores.* there are \[\]"):
        compare(subject(TOP), 2, tops, {"tfserving": tops}, np.array([0, 1]))


def test_an_image_block_says_which_output_has_the_scores() -> None:
    image = Image("images", "logits", 1, 1, "L", "light-on-dark", ("a", "b"))
    more = TensorSpec("features", "FP32", (-1, 2))
    pictured = Subject(Signature((IMAGES,), (more, LOGITS)), image)
    reference = {"logits": REFERENCE, "features": np.array([[1, 1.00001]] * 3, np.float32)}
    answer = {"logits": REFERENCE, "features": np.array([[1.00001, 1]] * 3, np.float32)}
    made = compare(pictured, 3, reference, {"tfserving": answer}, np.array([1, 0, 1]))
    assert (made.argmax_agreement, made.accuracy) == ({"tfserving": 1}, {"tfserving": 1})


def test_an_accuracy_can_be_asked_for() -> None:
    labels = np.array([1, 0, 0])
    assert of(REFERENCE, thresholds=Thresholds(min_accuracy=0.66), labels=labels).accuracy is not None
    with pytest.raises(ParityError, match=r"tfserving is right on 66\.6667% of the rows, less than 67\.0000%"):
        of(REFERENCE, thresholds=Thresholds(min_accuracy=0.67), labels=labels)
