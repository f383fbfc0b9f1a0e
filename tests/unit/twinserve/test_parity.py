"""When two outputs count as equal."""

import numpy as np
import pytest

from twinserve.parity import ParityError, certify

REFERENCE = np.array([[0, 1], [5, 2], [3, 3.5]], np.float32)


def test_the_certificate_records_each_engine() -> None:
    near = REFERENCE.copy()
    near[1, 0] += np.float32(5e-5)
    parity = certify(REFERENCE, {"torchserve": REFERENCE, "tfserving": near})
    assert (parity.images, parity.tolerance) == (3, 1e-4)
    assert parity.max_abs_diff["torchserve"] == 0
    assert parity.max_abs_diff["tfserving"] == pytest.approx(5e-5, rel=0.05)


def test_a_difference_names_engine_size_and_first_image() -> None:
    far = REFERENCE.copy()
    far[1, 0] += np.float32(0.25)
    far[2, 0] -= np.float32(0.5)
    with pytest.raises(
        ParityError, match=r"^tfserving differs .* up to 0\.5, more than 0\.0001; first on image 1, by 0\.25$"
    ):
        certify(REFERENCE, {"torchserve": REFERENCE, "tfserving": far})


def test_another_class_is_refused_however_small_the_difference() -> None:
    reference = np.array([[1, 1.00001]], np.float32)
    output = np.array([[1.00001, 1]], np.float32)
    with pytest.raises(ParityError, match="torchserve picks class 0 instead of 1 on image 0"):
        certify(reference, {"torchserve": output})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_a_number_is_no_parity(value: float) -> None:
    broken = REFERENCE.copy()
    broken[2, 1] = value
    with pytest.raises(ParityError, match="first on image 2"):
        certify(REFERENCE, {"torchserve": broken})


def test_outputs_of_another_shape_or_type_are_refused() -> None:
    with pytest.raises(ParityError, match=r"answers float32 \[2, 2\], the reference is float32 \[3, 2\]"):
        certify(REFERENCE, {"torchserve": REFERENCE[:2]})
    with pytest.raises(ParityError, match="answers float64"):
        certify(REFERENCE, {"torchserve": REFERENCE.astype(np.float64)})


def test_nothing_compared_proves_nothing() -> None:
    with pytest.raises(ParityError, match="no image to compare"):
        certify(REFERENCE[:0], {"torchserve": REFERENCE[:0]})
