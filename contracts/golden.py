"""`golden.npz`: tensors that go in, and what must come out; between processes too, as orders to exporters and answers.

The keys are `inputs/<name>` and `outputs/<name>`, since an input and an output may have one name. Of BYTES, which npz
has no dtype for but a pickle, the file holds all bytes and, under `shape-of-bytes/` before the key, the shape.
"""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts import byte_strings
from contracts.manifest import BadDocument

Array = NDArray[Any]

_INPUTS, _OUTPUTS, _LABELS = "inputs/", "outputs/", "labels"
_SHAPE = "shape-of-bytes/"


@dataclass(frozen=True)
class Golden:
    """Tensors by the names of the signature; `labels`, INT64 [N], only where a set of inputs has them."""

    inputs: Mapping[str, Array] = field(default_factory=dict)
    outputs: Mapping[str, Array] = field(default_factory=dict)
    labels: Array | None = None


def read_golden(path: Path) -> Golden:
    """Read a file that write_golden wrote. Raises BadDocument, OSError."""
    inputs, outputs, labels = {}, {}, None
    for key, array in _with_bytes(path, read_arrays(path)).items():
        if key.startswith(_INPUTS):
            inputs[key.removeprefix(_INPUTS)] = array
        elif key.startswith(_OUTPUTS):
            outputs[key.removeprefix(_OUTPUTS)] = array
        elif key == _LABELS:
            labels = array
        else:
            raise BadDocument(f"{path}: holds {key!r}, where a name begins with {_INPUTS!r} or {_OUTPUTS!r}")
    return Golden(inputs, outputs, labels)


def write_golden(path: Path, golden: Golden) -> None:
    """Write `path`. Raises OSError."""
    arrays = {_INPUTS + name: array for name, array in golden.inputs.items()}
    arrays |= {_OUTPUTS + name: array for name, array in golden.outputs.items()}
    if golden.labels is not None:
        arrays[_LABELS] = golden.labels
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **_without_objects(arrays))


def _without_objects(arrays: Mapping[str, Array]) -> dict[str, Array]:
    stored = {}
    for key, array in arrays.items():
        if array.dtype == byte_strings.BYTES:
            stored[_SHAPE + key] = np.array(array.shape, np.int64)
            stored[key] = np.frombuffer(byte_strings.encode(array), np.uint8)
        else:
            stored[key] = array
    return stored


def _with_bytes(path: Path, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Raises BadDocument for bytes that are not as many as the shape has."""
    shapes = {key.removeprefix(_SHAPE): array for key, array in arrays.items() if key.startswith(_SHAPE)}
    read = {key: array for key, array in arrays.items() if not key.startswith(_SHAPE)}
    for key, shape in shapes.items():
        try:
            sizes = [int(size) for size in shape]
            read[key] = byte_strings.array_of(byte_strings.decode(read[key].tobytes(), prod(sizes)), sizes)
        except (KeyError, TypeError, ValueError) as error:
            raise BadDocument(f"{path}: {key!r} is no BYTES tensor: {error}") from error
    return read


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of any npz by their keys; pickles are refused. Raises BadDocument, OSError."""
    try:
        stored = np.load(path, allow_pickle=False)
        if isinstance(stored, np.ndarray):
            raise BadDocument(f"{path}: is one array (npy), not an npz file of several")
        with stored:
            return {key: stored[key] for key in stored.files}
    except BadDocument:
        raise
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise BadDocument(f"{path}: is not an npz file of plain arrays: {error}") from error
