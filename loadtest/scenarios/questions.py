"""What is asked: single rows whose right label, or whose right answer by version, is known.

Rows come from labelled inputs (the real MNIST, or a file), and from the golden rows of the repository, whose answers
publishing has proved. Nothing here computes a model.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from contracts.golden import Golden, read_arrays, read_golden
from contracts.layout import ModelPaths
from contracts.manifest import BadDocument, Image, Manifest, read_document
from contracts.oip_bodies import Array

MOST_LABELLED = 1000
"""Rows taken from a larger set, drawn by the seed: every one is encoded once, and kept."""


class NoQuestions(ValueError):
    """There is nothing to ask whose answer is known; the message says what to give."""


@dataclass(frozen=True, eq=False)
class Question:
    """One row: tensors [1, ...] by name; its label where it has one; its outputs [1, ...] by version where known."""

    inputs: Mapping[str, Array]
    label: int | None = None
    outputs: Mapping[int, Mapping[str, Array]] = field(default_factory=dict)


@dataclass(frozen=True)
class Questions:
    """All rows of a run. `image` says how the model sees pictures, where that is known."""

    rows: tuple[Question, ...]
    image: Image | None
    source: str

    def at(self, number: int) -> Question:
        """The row of a request; they take turns."""
        return self.rows[number % len(self.rows)]


@dataclass(frozen=True)
class Sources:
    """Where rows may come from: a folder of MNIST's files or an npz file, and a repository. Both may be missing.

    `is_asked` is whether the data was asked for, and not just found in the environment: then it must fit the model.
    """

    data: Path | None
    is_asked: bool
    repository: Path
    model: str
    seed: int = 0


def read_questions(sources: Sources, inputs: Mapping[str, Sequence[int]]) -> Questions:
    """All rows for a model whose inputs have these shapes. Raises NoQuestions, BadDocument, OSError."""
    image = _read_image(sources)
    labelled = _read_labelled(sources, inputs, image)
    known = _read_known(sources)
    if not labelled and not known:
        raise NoQuestions(
            f"nothing to ask {sources.model}: give --data (MNIST's folder, or an npz of inputs and labels), or "
            f"--repository where its versions lie; {sources.repository} has none"
        )
    told = [f"{len(labelled)} labelled rows of {sources.data}"] if labelled else []
    told += [f"{len(known)} golden rows of {sources.repository}"] if known else []
    return Questions(_spread(known, labelled), image, " and ".join(told))


def _spread(known: Sequence[Question], labelled: Sequence[Question]) -> tuple[Question, ...]:
    """All of both, each kind evenly over the whole and a known row first: a short run compares outputs, too."""
    placed = [(at / len(known), row) for at, row in enumerate(known)]
    placed += [((at + 0.5) / len(labelled), row) for at, row in enumerate(labelled)]
    return tuple(row for _, row in sorted(placed, key=lambda place: place[0]))


def _read_image(sources: Sources) -> Image | None:
    paths = ModelPaths(sources.repository, sources.model)
    for version in reversed(paths.published()):
        try:
            return read_document(paths.version(version).manifest, Manifest).image
        except (BadDocument, OSError):
            continue
    return None


def _read_known(sources: Sources) -> list[Question]:
    """The golden rows that all published versions share, with what each version answers."""
    paths = ModelPaths(sources.repository, sources.model)
    golden: dict[int, Golden] = {}
    for version in paths.published():
        try:
            golden[version] = read_golden(paths.version(version).golden)
        except (BadDocument, OSError):
            continue
    if not golden:
        return []
    newest = golden[max(golden)]
    alike = {version: rows for version, rows in golden.items() if _are_equal(rows.inputs, newest.inputs)}
    count = min(len(tensor) for tensor in newest.inputs.values())
    return [
        Question(
            {name: tensor[row : row + 1] for name, tensor in newest.inputs.items()},
            outputs={v: {name: t[row : row + 1] for name, t in rows.outputs.items()} for v, rows in alike.items()},
        )
        for row in range(count)
    ]


def _are_equal(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return set(one) == set(other) and all(np.array_equal(one[name], other[name]) for name in one)


def _read_labelled(sources: Sources, inputs: Mapping[str, Sequence[int]], image: Image | None) -> list[Question]:
    if sources.data is None:
        return []
    rows = _read_data(sources.data, next(iter(inputs)), image)
    if fault := _find_misfit(rows, inputs):
        if not sources.is_asked:
            return []  # TWINSERVE_MNIST is set for another model's sake
        raise NoQuestions(f"{sources.data} does not fit {sources.model}: {fault}")
    labels = np.asarray(rows.labels)
    order = np.random.default_rng(sources.seed).permutation(len(labels))[:MOST_LABELLED]
    return [
        Question({name: tensor[row : row + 1] for name, tensor in rows.inputs.items()}, int(labels[row]))
        for row in order.tolist()
    ]


def _find_misfit(rows: Golden, inputs: Mapping[str, Sequence[int]]) -> str:
    if set(rows.inputs) != set(inputs):
        return f"it has inputs {sorted(rows.inputs)}, the model takes {sorted(inputs)}"
    for name, tensor in rows.inputs.items():
        wanted, came = list(inputs[name])[1:], list(tensor.shape)[1:]
        if len(wanted) != len(came) or any(w not in (-1, c) for w, c in zip(wanted, came, strict=True)):
            return f"rows of {name!r} are {came}, the model takes {wanted}"
    count = len(next(iter(rows.inputs.values())))
    if rows.labels is None or rows.labels.shape != (count,):
        return f"it needs `labels`, one integer for each of its {count} rows"
    return ""


def _read_data(data: Path, name: str, image: Image | None) -> Golden:
    """An npz of inputs by name and `labels`, or a folder of MNIST's files. Raises NoQuestions, BadDocument, OSError."""
    if data.is_dir():
        return _read_mnist(data, name, image)
    arrays = read_arrays(data)
    if any("/" in key for key in arrays):
        return read_golden(data)
    labels = arrays.pop("labels", None)
    return Golden(arrays, labels=labels)


def _read_mnist(folder: Path, name: str, image: Image | None) -> Golden:
    """The 10,000 test images, by the program that knows their format and checks their sums."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "test.npz"
        command = [sys.executable, "-m", "workers.test_set", "--data", str(folder), "--input", name, "--out", str(out)]
        if image is not None and image.polarity == "dark-on-light":
            command.append("--dark-on-light")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NoQuestions(done.stderr.strip().rpartition("workers.test_set: ")[2] or f"{folder} cannot be read")
        return read_golden(out)
