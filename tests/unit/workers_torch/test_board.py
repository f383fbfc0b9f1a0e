"""What TensorBoard is told, before either framework writes it."""

import numpy as np

from workers.mnist import Split
from workers.mnist.board import has_point, mistakes_sheet

LABELS = np.arange(40, dtype=np.int64) % 10
WHITE = Split(np.ones((40, 28, 28), np.float32), LABELS)


def pictures_on(sheet: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> int:
    """How many places of the sheet, below their captions, are white."""
    places = sheet.reshape(4, 70, 8, 56)[:, 14:].transpose(0, 2, 1, 3)
    return int((places == 255).all((2, 3)).sum())


def test_points_are_drawn_every_so_often_and_at_both_ends() -> None:
    assert [step for step in range(1, 61) if has_point(step, 60)] == [1, 25, 50, 60]


def test_without_mistakes_the_sheet_is_black() -> None:
    sheet = mistakes_sheet(WHITE, LABELS)
    assert (sheet.shape, sheet.dtype) == ((280, 448), np.dtype(np.uint8))
    assert not sheet.any()


def test_mistakes_are_pictured_under_their_captions() -> None:
    guesses = LABELS.copy()
    guesses[[3, 7, 11]] += 1
    sheet = mistakes_sheet(WHITE, guesses)
    assert pictures_on(sheet) == 3
    assert sheet[:14, :56].any(), "the caption"


def test_a_sheet_holds_the_first_mistakes_only() -> None:
    assert pictures_on(mistakes_sheet(WHITE, LABELS + 1)) == 32
