"""The fixed list of operators that both sides are asked for: inputs, and the right answer by numpy."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from contracts.findings import Finding
from workers.factors.task import reason_of

Array = NDArray[Any]
ATOL = 1e-4


@dataclass(frozen=True)
class Case:
    """An operator's name, what it is asked and what it must answer. Layouts: NCHW images, OIHW kernels."""

    name: str
    inputs: tuple[Array, ...]
    expected: Array


_HOW = (
    "each built, saved as {served}, loaded and asked with other values than it was built with; "
    "right within 1e-4 of numpy"
)


def cases(drawn: int = 0) -> tuple[Case, ...]:
    """The list; a `drawn` other than 0 gives other values of the same shapes, which take the other branch.

    It grows at its end only, so that old counts stay comparable as far as they went.
    """
    return (*_algebra(drawn), *_vision(drawn), *_language(drawn), *_shapes(drawn), *_flow(drawn))


def measure_cover(name: str, served: str, asked: Mapping[str, Callable[[], object]]) -> Iterator[Finding]:
    """How many of a list are served, and a finding for each that is not; `asked` raise when theirs is not."""
    refused = {what: reason for what, ask in asked.items() if (reason := _refusal(ask))}
    how = _HOW.format(served=served)
    yield Finding(f"{name} served", f"{how}: {', '.join(asked)}", len(asked) - len(refused), f"of {len(asked)}")
    for what, reason in refused.items():
        yield Finding(f"{name}: {what}", reason, "no")


def check(answer: Array, expected: Array) -> None:
    """Raises ValueError when an answer is wrong."""
    if answer.shape != expected.shape:
        raise ValueError(f"answered the shape {answer.shape}, expected {expected.shape}")
    if expected.dtype.kind in "OSU":
        if answer.tolist() != expected.tolist():
            raise ValueError("answered other strings")
    elif not np.allclose(answer, expected, atol=ATOL):
        raise ValueError(f"off by up to {np.abs(answer - expected).max():.3g}")


def _refusal(ask: Callable[[], object]) -> str:
    try:
        ask()
    except Exception as error:  # noqa: BLE001 - whatever it is, the operator is not served
        return reason_of(error)
    return ""


def _draw(drawn: int, *shape: int, seed: int = 0) -> Array:
    return np.random.default_rng((drawn, seed) if drawn else seed).standard_normal(shape).astype(np.float32)


def _algebra(drawn: int) -> Iterator[Case]:
    a, b, square = _draw(drawn, 3, 4), _draw(drawn, 4, 5, seed=1), _draw(drawn, 4, 4, seed=2)
    positive = square @ square.T + 4 * np.eye(4, dtype=np.float32)
    signal = _draw(drawn, 2, 16)
    thin = np.roll(np.eye(4, dtype=np.float32)[::-1], drawn, 0)
    yield Case("matmul", (a, b), a @ b)
    left, right = _draw(drawn, 2, 3, 4), _draw(drawn, 2, 4, 5)
    yield Case("batched matmul", (left, right), left @ right)
    yield Case("einsum", (a, b), np.einsum("ij,jk->ki", a, b))
    yield Case("inverse", (positive,), np.linalg.inv(positive))
    yield Case("cholesky", (positive,), np.linalg.cholesky(positive))
    yield Case("singular values", (a,), np.linalg.svd(a, compute_uv=False))
    yield Case("determinant", (positive,), np.asarray(np.linalg.det(positive)))
    yield Case("real FFT", (signal,), np.abs(np.fft.rfft(signal)).astype(np.float32))
    yield Case("sparse matmul", (thin, b), thin @ b)


def _vision(drawn: int) -> Iterator[Case]:
    image, kernel = _draw(drawn, 2, 3, 8, 8), _draw(drawn, 5, 3, 3, 3, seed=1)
    windows = sliding_window_view(image, (3, 3), axis=(2, 3))
    pairs = image.reshape(2, 3, 4, 2, 4, 2)
    spread = kernel[:3, :1]
    yield Case("convolution", (image, kernel), np.einsum("ncrsij,ocij->nors", windows, kernel))
    yield Case("depthwise convolution", (image, spread), np.einsum("ncrsij,cij->ncrs", windows, spread[:, 0]))
    yield Case("max pool", (image,), pairs.max((3, 5)))
    yield Case("average pool", (image,), pairs.mean((3, 5)))
    yield Case("nearest resize", (image,), image.repeat(2, 2).repeat(2, 3))
    yield Case("reflect pad", (image,), np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)), "reflect"))
    yield Case("batch norm", (image,), image / np.sqrt(np.float32(1 + 1e-5)))


def _language(drawn: int) -> Iterator[Case]:
    rows, queries = _draw(drawn, 3, 6), _draw(drawn, 2, 4, 8)
    keys, values = _draw(drawn, 2, 5, 8, seed=1), _draw(drawn, 2, 5, 8, seed=2)
    centred = rows - rows.mean(1, keepdims=True)
    scores = np.exp(queries @ keys.transpose(0, 2, 1) / math.sqrt(8))
    words = np.array([1, 3, 1] if drawn else [3, 0, 2])
    exponents = np.exp(rows)
    yield Case("softmax", (rows,), exponents / exponents.sum(1, keepdims=True))
    yield Case("log softmax", (rows,), np.log(exponents / exponents.sum(1, keepdims=True)))
    yield Case("layer norm", (rows,), centred / np.sqrt(rows.var(1, keepdims=True) + 1e-5))
    yield Case("GELU", (rows,), rows * (1 + np.vectorize(math.erf)(rows / math.sqrt(2)).astype(np.float32)) / 2)
    yield Case("SiLU", (rows,), rows / (1 + np.exp(-rows)))
    yield Case("attention", (queries, keys, values), scores / scores.sum(2, keepdims=True) @ values)
    yield Case("embedding", (_draw(drawn, 4, 5), words), _draw(drawn, 4, 5)[words])
    lower = [b"other", b"words"] if drawn else [b"twin", b"serve"]
    upper = np.array([word.upper() for word in lower], object)
    yield Case("uppercase strings", (np.array(lower, object),), upper)


def _shapes(drawn: int) -> Iterator[Case]:
    rows, places = _draw(drawn, 3, 6), np.array([0, 2, 2] if drawn else [1, 1, 3])
    index = np.array([[5, 1], [0, 4], [2, 2]] if drawn else [[0, 2], [1, 1], [5, 3]])
    numbers = np.array([0, 2, 0, 0, 2] if drawn else [3, 1, 3, 2, 1])
    summed = np.zeros((4, 6), np.float32)
    np.add.at(summed, places, rows)
    yield Case("gather along an axis", (rows, index), np.take_along_axis(rows, index, 1))
    yield Case("scatter add", (rows, places), summed)
    yield Case("sort", (rows,), np.sort(rows, 1))
    yield Case("top k", (rows,), -np.sort(-rows, 1)[:, :2])
    yield Case("cumulative sum", (rows,), rows.cumsum(1))
    yield Case("one-hot", (numbers,), np.eye(4, dtype=np.float32)[numbers])
    yield Case("unique", (numbers,), np.unique(numbers))
    yield Case("boolean mask", (rows,), rows[rows > 0])
    yield Case("nonzero", (numbers - 1,), np.argwhere(numbers - 1))


def _flow(drawn: int) -> Iterator[Case]:
    # More rounds of the loop, and the other branch.
    rows = -8 * np.abs(_draw(drawn, 3, 6)) if drawn else np.abs(_draw(drawn, 3, 6))
    halved = rows
    while np.abs(halved).sum() > 1:
        halved = halved / 2
    yield Case("loop until a value is small", (rows,), halved)
    yield Case("branch on a value", (rows,), rows * 2 if rows.sum() > 0 else rows * 3)
