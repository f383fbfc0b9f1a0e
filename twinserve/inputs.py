"""The inputs that a version is proven with: the golden ones, and a test set where one is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from contracts import byte_strings
from contracts.bfloat16 import BFLOAT16, narrow
from contracts.golden import Golden, read_arrays, read_golden
from contracts.manifest import Image, Model, Signature, TensorSpec
from twinserve.digits import GOLDEN_COUNT, GOLDEN_SEED, golden_digits
from twinserve.tensors import Tensors, dtype_of, find_fault, has_rows

FREE_SIZE = 4
"""The size that a free dimension gets in drawn inputs, the rows excepted."""

_WORDS = ("one", "two words", "", "Grüße", "12", "a\nb", "a word of some more letters, and a stop.")
_BARE_BFLOAT16 = np.dtype("V2")  # what npz makes of the dtype of ml_dtypes

_PREFIXES = ("inputs/", "outputs/")


class BadInputs(ValueError):
    """Inputs do not fit the model; the message says which file, what was expected and what came."""


@dataclass(frozen=True)
class TestSet:
    """Inputs with one number of rows N, and their labels, int64 [N], where they have any."""

    __test__ = False  # pytest takes every Test… for its own

    inputs: Tensors
    labels: NDArray[np.int64] | None


def golden_inputs(model: Model, file: Path | None) -> Tensors:
    """The inputs of `file` by their names, or else drawn: always the same for one signature.

    A model with an image block gets digits by our own pen, another one 64 rows of random numbers; one without rows
    gets one set of tensors. Raises BadInputs, contracts.manifest.BadDocument, OSError.
    """
    if file:
        inputs = _by_name(file, model.signature).inputs
        _check(str(file), inputs, model.signature)
        return inputs
    if model.image:
        return {model.image.input: _digits(model.image).astype(dtype_of(model.signature.inputs[0]))}
    generator = np.random.default_rng(GOLDEN_SEED)
    return {spec.name: _draw(spec, generator) for spec in model.signature.inputs}


def read_test_set(model: Model, data: Path, fetch: Callable[[Path, Image], Path]) -> TestSet:
    """The test set in `data`: an npz of inputs by name and `labels`, or a folder of MNIST's IDX files.

    A folder is read by `fetch`, which makes a file of contracts.golden of it. Raises BadInputs,
    contracts.manifest.BadDocument, OSError.
    """
    specs = (*model.signature.inputs, *model.signature.outputs)
    if not all(has_rows(spec) for spec in specs):
        raise BadInputs("a test set needs a model whose inputs and outputs all have rows (a leading -1)")
    if data.is_dir():
        if model.image is None:
            raise BadInputs(f"{data} is a folder of images, but {model.model} has no image block: give an npz file")
        given = read_golden(fetch(data, model.image))
    else:
        given = _by_name(data, model.signature)
    _check(str(data), given.inputs, model.signature)
    if given.labels is None:
        return TestSet(given.inputs, None)
    rows = len(next(iter(given.inputs.values())))
    if given.labels.shape != (rows,) or given.labels.dtype.kind not in "iu":
        came = f"{given.labels.dtype} {list(given.labels.shape)}"
        raise BadInputs(f"{data}: labels must be one integer a row, expected [{rows}], got {came}")
    return TestSet(given.inputs, given.labels.astype(np.int64))


def _by_name(file: Path, signature: Signature) -> Golden:
    """Inputs under their plain names, or as contracts.golden writes them. Raises BadDocument, OSError.

    Under plain names BYTES may be text (as UTF-8), and BF16 any floats.
    """
    arrays = read_arrays(file)
    if any(key.startswith(_PREFIXES) for key in arrays):
        return read_golden(file)
    is_input = "labels" in {spec.name for spec in signature.inputs}
    labels = None if is_input else arrays.pop("labels", None)
    datatypes = {spec.name: spec.datatype for spec in signature.inputs}
    return Golden({name: _as(datatypes.get(name, ""), array) for name, array in arrays.items()}, labels=labels)


def _as(datatype: str, array: NDArray[Any]) -> NDArray[Any]:
    """What npz has no dtype for may come as one it has: BYTES as text or byte strings, BF16 as floats or bare bytes."""
    if datatype == "BYTES":
        return byte_strings.from_text(array)
    if datatype == "BF16" and array.dtype.kind == "f":
        return narrow(array)
    if datatype == "BF16" and array.dtype == _BARE_BFLOAT16:
        return array.view(BFLOAT16)
    return array


def _check(where: str, inputs: Mapping[str, NDArray[Any]], signature: Signature) -> None:
    if fault := find_fault(inputs, signature.inputs):
        raise BadInputs(f"{where}: the inputs {fault}")


def _digits(image: Image) -> NDArray[np.float32]:
    """Digits as this model sees them: float32 [64,height,width]."""
    images, _ = golden_digits()
    if images.shape[1:] != (image.height, image.width):
        size = (image.width, image.height)
        scaled = [Picture.fromarray(digit).resize(size, Picture.Resampling.BILINEAR) for digit in images]
        images = np.stack([np.asarray(digit, np.float32) for digit in scaled])
    return images if image.polarity == "light-on-dark" else 1 - images


def _draw(spec: TensorSpec, generator: np.random.Generator) -> NDArray[Any]:
    shape = [FREE_SIZE if size == -1 else size for size in spec.shape]
    if has_rows(spec):
        shape[0] = GOLDEN_COUNT
    dtype = dtype_of(spec)
    if spec.datatype == "BYTES":
        words = [_WORDS[index].encode() for index in generator.integers(0, len(_WORDS), prod(shape))]
        return byte_strings.array_of(words, shape)
    if spec.datatype == "BF16":
        return narrow(generator.standard_normal(shape))
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(0, 2 if dtype.kind == "b" else 10, shape).astype(dtype)
