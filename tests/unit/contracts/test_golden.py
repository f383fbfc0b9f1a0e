"""Golden files: written, read back, and refused when they are something else."""

from pathlib import Path

import numpy as np
import pytest

from contracts.bfloat16 import narrow
from contracts.byte_strings import array_of
from contracts.golden import Array, Golden, read_golden, write_golden
from contracts.manifest import BadDocument


def test_an_input_and_an_output_may_have_one_name(tmp_path: Path) -> None:
    file = tmp_path / "golden.npz"
    inputs: dict[str, Array] = {"x": np.ones((2, 3), np.float16), "file": np.array([True])}
    outputs: dict[str, Array] = {"x": np.arange(2, dtype=np.uint64), "a/b": np.array(1.5, np.float32)}
    write_golden(file, Golden(inputs, outputs))
    read = read_golden(file)
    assert (list(read.inputs), list(read.outputs)) == (list(inputs), list(outputs))
    for name, tensor in inputs.items():
        np.testing.assert_array_equal(read.inputs[name], tensor, strict=True)
    for name, tensor in outputs.items():
        np.testing.assert_array_equal(read.outputs[name], tensor, strict=True)
    assert read.labels is None


def test_bytes_and_bf16_are_stored_too(tmp_path: Path) -> None:
    file = tmp_path / "golden.npz"
    text = array_of([b"", b"\0", b"\xff" * 70_000, b"a\0", b"b", b""], (3, 2))
    alone, none = array_of([b"one\0"], ()), array_of([], (0, 4))
    half = narrow(np.array([[0.1, np.nan]]))
    write_golden(file, Golden({"text": text, "half": half}, {"text": alone, "none": none}))
    read = read_golden(file)
    assert read.inputs["text"].tolist() == text.tolist()
    np.testing.assert_array_equal(read.inputs["half"], half, strict=True)
    assert (read.outputs["text"].shape, read.outputs["text"].item()) == ((), b"one\0")
    assert read.outputs["none"].shape == (0, 4)


def no_bytes(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(
            file, allow_pickle=False, **{"inputs/x": np.zeros(7, np.uint8), "shape-of-bytes/inputs/x": np.array([2])}
        )


def shape_alone(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **{"shape-of-bytes/inputs/x": np.array([2])})


def pickled(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=True, **{"inputs/x": np.array([{}], object)})


def older(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, images=np.ones(1), logits=np.ones(1))


def cut(path: Path) -> None:
    write_golden(path, Golden({"x": np.ones(1000)}))
    path.write_bytes(path.read_bytes()[:-100])


def one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones(1))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (pickled, "not an npz file of plain arrays"),
        (no_bytes, "'inputs/x' is no BYTES tensor: 2 elements take at least 8 bytes, there are 7"),
        (shape_alone, "'inputs/x' is no BYTES tensor"),
        (older, "holds 'images', where a name begins with 'inputs/' or 'outputs/'"),
        (cut, "not an npz file"),
        (one_array, "is one array"),
        (lambda path: path.write_bytes(b""), "not an npz file"),
        (lambda path: path.write_bytes(b"nonsense"), "not an npz file"),
    ],
)
def test_what_is_no_golden_file_is_refused(tmp_path: Path, make: object, said: str) -> None:
    file = tmp_path / "golden.npz"
    assert callable(make)
    make(file)
    with pytest.raises(BadDocument, match=said):
        read_golden(file)


def test_a_missing_file_is_not_a_bad_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_golden(tmp_path / "golden.npz")
