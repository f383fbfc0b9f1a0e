"""What TensorBoard shows of a training: the same tags at the same steps, whichever framework writes them."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from workers.mnist import Split

LOSS = "train/loss"
LEARNING_RATE = "train/learning_rate"
ACCURACY = "test/accuracy"
MISTAKES = "test/mistakes"

STEPS_BETWEEN_POINTS = 25

_COLUMNS, _ROWS = 8, 4
_PICTURE_PX, _CAPTION_PX = 56, 14


def has_point(step: int, steps: int) -> bool:
    """Whether step `step` of `steps`, counted from 1, is drawn: every so many, and both ends."""
    return step % STEPS_BETWEEN_POINTS == 0 or step in (1, steps)


def mistakes_sheet(split: Split, guesses: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The first 32 images whose guess is wrong, each under its guess and its label; black where there are fewer.

    `guesses` is [N], one an image of `split`, whose images are [N,28,28]. Returns shades of grey, [280,448].
    """
    sheet = Image.new("L", (_COLUMNS * _PICTURE_PX, _ROWS * (_PICTURE_PX + _CAPTION_PX)))
    pen = ImageDraw.Draw(sheet)
    wrong = np.flatnonzero(guesses != split.labels)[: _COLUMNS * _ROWS]
    for place, index in enumerate(wrong):
        row, column = divmod(place, _COLUMNS)
        left, top = column * _PICTURE_PX, row * (_PICTURE_PX + _CAPTION_PX)
        digit = Image.fromarray(np.rint(split.images[index] * 255).astype(np.uint8))
        pen.text((left + 2, top + 1), f"{guesses[index]}, is {split.labels[index]}", fill=255)
        sheet.paste(digit.resize((_PICTURE_PX, _PICTURE_PX)), (left, top + _CAPTION_PX))
    return np.asarray(sheet)
