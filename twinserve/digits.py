"""Digits drawn by our own pen: golden inputs, and pictures for examples and tests, without any data set or font.

A glyph is a list of strokes in a box one unit wide and one high, y downwards. A stroke is a list of points that the
pen passes through on a smooth curve (a uniform Catmull-Rom spline); two points make a straight line.
Framing follows MNIST: ink fits a 20x20 box, and its centre of mass lies in the middle of 28x28.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

SIDE = 28
BOX = 20
GOLDEN_COUNT = 64
GOLDEN_SEED = 20

_FINE = 8  # a digit is drawn this many times larger, then reduced: that gives the pen soft edges
_STEPS = 12  # line segments between two points of a stroke

Point = tuple[float, float]

GLYPHS: Mapping[int, Sequence[Sequence[Point]]] = {
    0: [[(0.55, 0.0), (0.2, 0.18), (0.1, 0.55), (0.28, 0.93), (0.55, 1.0), (0.85, 0.75), (0.88, 0.35), (0.55, 0.0)]],
    1: [[(0.52, 0.0), (0.5, 1.0)]],
    2: [
        [(0.12, 0.24), (0.3, 0.04), (0.62, 0.02), (0.82, 0.24), (0.62, 0.58), (0.08, 0.98)],
        [(0.08, 0.98), (0.92, 0.96)],
    ],
    3: [
        [(0.15, 0.1), (0.5, 0.0), (0.8, 0.2), (0.66, 0.42), (0.38, 0.48)],
        [(0.38, 0.48), (0.74, 0.56), (0.84, 0.78), (0.52, 1.0), (0.12, 0.9)],
    ],
    4: [[(0.24, 0.0), (0.14, 0.56)], [(0.14, 0.56), (0.86, 0.54)], [(0.76, 0.04), (0.68, 1.0)]],
    5: [
        [(0.84, 0.0), (0.26, 0.02)],
        [(0.26, 0.02), (0.2, 0.44)],
        [(0.2, 0.44), (0.55, 0.4), (0.82, 0.64), (0.66, 0.95), (0.3, 1.0), (0.1, 0.9)],
    ],
    6: [[(0.66, 0.0), (0.3, 0.3), (0.16, 0.7), (0.4, 0.99), (0.74, 0.86), (0.7, 0.6), (0.44, 0.54), (0.2, 0.74)]],
    7: [[(0.1, 0.06), (0.86, 0.04)], [(0.86, 0.04), (0.6, 0.48), (0.4, 1.0)]],
    8: [
        [
            (0.76, 0.14), (0.48, 0.0), (0.24, 0.2), (0.5, 0.46), (0.78, 0.76), (0.5, 1.0),
            (0.22, 0.78), (0.5, 0.46), (0.78, 0.24), (0.7, 0.06),
        ]
    ],
    9: [
        [(0.76, 0.2), (0.5, 0.02), (0.22, 0.2), (0.3, 0.46), (0.58, 0.44), (0.78, 0.16)],
        [(0.78, 0.16), (0.74, 0.55), (0.62, 1.0)],
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Hand:
    """How one digit is written. Lengths are in boxes; `slant` is the way to the right per way up."""

    slant: float
    width: float
    height: float
    pen: float
    tremor: float

    @classmethod
    def drawn_from(cls, generator: np.random.Generator) -> "Hand":
        """A plausible hand, at random."""
        return cls(
            slant=generator.uniform(-0.05, 0.3),
            width=generator.uniform(0.62, 0.85),
            height=generator.uniform(0.9, 1.0),
            pen=generator.uniform(0.1, 0.15),
            tremor=0.015,
        )


def golden_digits(count: int = GOLDEN_COUNT, seed: int = GOLDEN_SEED) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Digits 0 to 9 in turn, each in a hand of its own; the same seed gives the same digits.

    Returns images float32 [count,28,28], 0..1, light on dark, and labels int64 [count].
    """
    generator = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % len(GLYPHS)
    images = np.empty((count, SIDE, SIDE), np.float32)
    for index, digit in enumerate(labels):
        images[index] = np.asarray(_write(int(digit), SIDE, generator), np.float32) / np.float32(255)
    return images, labels


def digit_image(digit: int, side: int = 280, seed: int = 0, *, is_dark_on_light: bool = False) -> Image.Image:
    """One digit as a square grey picture (mode L) of `side` pixels. Raises ValueError when `digit` is not 0 to 9."""
    if digit not in GLYPHS:
        raise ValueError(f"{digit} is not a digit from 0 to 9")
    picture = _write(digit, side, np.random.default_rng(seed))
    return ImageOps.invert(picture) if is_dark_on_light else picture


def _write(digit: int, side: int, generator: np.random.Generator) -> Image.Image:
    hand = Hand.drawn_from(generator)
    strokes = []
    for glyph_stroke in GLYPHS[digit]:
        x, y = np.array(glyph_stroke).T - 0.5
        points = np.stack([x * hand.width - y * hand.slant, y * hand.height], axis=1)
        strokes.append(_curve(points + generator.normal(0, hand.tremor, points.shape)))
    offset = generator.uniform(-0.5, 0.5, 2) / SIDE
    return _frame(strokes, hand.pen, offset, side)


def _curve(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points [n,2] and the segments between them, as a polyline. Ends count twice, so the curve reaches them."""
    padded = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0, 1, _STEPS)[:, None]
    pieces = []
    for before, start, end, after in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        bend = (2 * before - 5 * start + 4 * end - after) * t**2 + (3 * start - before - 3 * end + after) * t**3
        pieces.append(start + 0.5 * ((end - before) * t + bend))
    return np.concatenate(pieces)


def _frame(strokes: Sequence[NDArray[np.float64]], pen: float, offset: NDArray[np.float64], side: int) -> Image.Image:
    """Ink the strokes with their centre of mass in the middle, then `offset` pictures away from it."""
    canvas_side = side * _FINE
    box = canvas_side * BOX / SIDE
    middle = np.full(2, canvas_side / 2)
    scaled = [stroke * box * (1 - pen) for stroke in strokes]
    draft = np.asarray(_ink(scaled, middle, pen * box, canvas_side), np.float64)
    along = np.arange(canvas_side) + 0.5
    mass_centre = np.array([draft.sum(0) @ along, draft.sum(1) @ along]) / draft.sum()
    place = middle + (middle - mass_centre) + offset * canvas_side
    return _ink(scaled, place, pen * box, canvas_side).resize((side, side), Image.Resampling.BOX)


def _ink(
    strokes: Sequence[NDArray[np.float64]], place: NDArray[np.float64], pen_px: float, canvas_side: int
) -> Image.Image:
    picture = Image.new("L", (canvas_side, canvas_side), 0)
    brush = ImageDraw.Draw(picture)
    radius = pen_px / 2
    for stroke in strokes:
        points = [(float(x), float(y)) for x, y in stroke + place]
        brush.line(points, fill=255, width=max(1, round(pen_px)))
        for x, y in points:  # round joints and ends
            brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return picture
