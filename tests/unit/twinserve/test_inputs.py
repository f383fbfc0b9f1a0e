"""What a version is proven with: drawn from its signature, or read from files that must fit it."""

from pathlib import Path
from typing import Literal

import ml_dtypes
import numpy as np
import pytest

from contracts.bfloat16 import narrow, widen
from contracts.golden import Array, Golden, write_golden
from contracts.manifest import Image, Model, Signature, TensorSpec
from twinserve.digits import golden_digits
from twinserve.inputs import BadInputs, golden_inputs, read_test_set
from twinserve.tensors import find_fault
from workers.ranker import MODEL as RANKER

Polarity = Literal["light-on-dark", "dark-on-light"]
SCORES = TensorSpec("scores", "FP32", (-1, 2))


def model(*inputs: TensorSpec, image: Image | None = None) -> Model:
    return Model("some", Signature(inputs, (SCORES,)), image)


def picture(side: int, polarity: Polarity = "light-on-dark") -> Model:
    image = Image("images", "scores", side, side, "L", polarity, ("a", "b"))
    return model(TensorSpec("images", "FP32", (-1, side, side)), image=image)


def never(folder: Path, image: Image) -> Path:
    raise AssertionError("nothing is to be fetched")


def test_drawn_inputs_fit_any_signature_and_are_always_the_same() -> None:
    every = [
        TensorSpec(d, d, (-1, 3, -1))
        for d in ("BOOL", "UINT8", "INT64", "UINT16", "FP16", "FP32", "FP64", "BF16", "BYTES")
    ]
    drawn = golden_inputs(model(*every), None)
    assert find_fault(drawn, every) == ""
    assert {tensor.shape for tensor in drawn.values()} == {(64, 3, 4)}
    assert set(np.unique(drawn["INT64"])) == set(range(10))
    assert set(np.unique(drawn["BOOL"])) == {False, True}
    assert drawn["FP32"].min() < -1 < 1 < drawn["FP32"].max()
    assert all(type(text) is bytes for text in drawn["BYTES"].ravel().tolist())
    assert len(set(drawn["BYTES"].ravel().tolist())) > 3
    again = golden_inputs(model(*every), None)
    assert all(np.array_equal(drawn[name], again[name]) for name in drawn)


def test_text_and_floats_stand_for_bytes_and_bf16(tmp_path: Path) -> None:
    described = model(TensorSpec("text", "BYTES", (-1,)), TensorSpec("half", "BF16", (-1,)))
    halves = np.array([1.5, -0.1], ml_dtypes.bfloat16)
    for text, half in (
        (np.array(["a", "é"]), halves.astype(np.float32)),
        (np.array([b"a", b"\xc3\xa9"]), halves),
        (np.array(["a", "é"]), narrow(halves)),
    ):
        np.savez(tmp_path / "golden.npz", text=text, half=half)
        inputs = golden_inputs(described, tmp_path / "golden.npz")
        assert inputs["text"].tolist() == [b"a", b"\xc3\xa9"]
        assert widen(inputs["half"]).tolist() == halves.astype(np.float32).tolist()


def test_a_signature_without_rows_gets_one_set() -> None:
    drawn = golden_inputs(model(TensorSpec("a", "FP32", (3, -1)), TensorSpec("b", "INT8", ())), None)
    assert {name: tensor.shape for name, tensor in drawn.items()} == {"a": (3, 4), "b": ()}


def test_pictures_get_digits_in_their_size_and_polarity() -> None:
    digits, _ = golden_digits()
    np.testing.assert_array_equal(golden_inputs(picture(28), None)["images"], digits)
    np.testing.assert_array_equal(golden_inputs(picture(28, "dark-on-light"), None)["images"], 1 - digits)
    small = golden_inputs(picture(14), None)["images"]
    assert find_fault({"images": small}, picture(14).signature.inputs) == ""
    assert len(small) == 64
    assert 0 <= small.min() < 0.1 < 0.7 < small.max() <= 1


@pytest.mark.parametrize("is_prefixed", [True, False])
def test_golden_inputs_are_read_by_name(tmp_path: Path, is_prefixed: bool) -> None:
    inputs: dict[str, Array] = {"ids": np.zeros((3, 4), np.int64), "scale": np.ones((3, 1), np.float32)}
    file = tmp_path / "golden.npz"
    if is_prefixed:  # as in a version's own golden.npz
        write_golden(file, Golden(inputs, {"top": np.zeros(3, np.int64)}))
    else:
        with file.open("wb") as opened:
            np.savez(opened, ids=inputs["ids"], scale=inputs["scale"])
    assert golden_inputs(RANKER, file).keys() == {"ids", "scale"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ids": np.zeros((3, 4), np.int32)}, r"have ids as int32 \[3, 4\], expected int64 \[-1, 4\]"),
        ({"ids": np.zeros((3, 5), np.int64)}, r"have ids as int64 \[3, 5\]"),
        ({"ids": np.zeros((2, 4), np.int64)}, "differ in their number of rows"),
        ({"ids": np.zeros((0, 4), np.int64), "scale": np.zeros((0, 1), np.float32)}, "have no rows"),
        ({"more": np.zeros(3)}, r"are \['ids', 'more', 'scale'\], expected \['ids', 'scale'\]"),
    ],
)
def test_golden_inputs_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Array], said: str) -> None:
    inputs: dict[str, Array] = {"ids": np.zeros((3, 4), np.int64), "scale": np.ones((3, 1), np.float32)}
    write_golden(tmp_path / "golden.npz", Golden(inputs | changes))
    with pytest.raises(BadInputs, match=rf"golden\.npz: the inputs {said}"):
        golden_inputs(RANKER, tmp_path / "golden.npz")


def test_a_test_set_is_inputs_by_name_and_labels(tmp_path: Path) -> None:
    file = tmp_path / "test.npz"
    with file.open("wb") as opened:
        np.savez(opened, a=np.zeros((3, 2), np.float32), labels=np.array([0, 1, 1], np.uint8))
    test = read_test_set(model(TensorSpec("a", "FP32", (-1, 2))), file, never)
    assert test.labels is not None
    assert list(test.inputs) == ["a"]
    np.testing.assert_array_equal(test.labels, np.array([0, 1, 1], np.int64), strict=True)
    both = model(TensorSpec("a", "FP32", (-1, 2)), TensorSpec("labels", "UINT8", (-1,)))
    named = read_test_set(both, file, never)
    assert (list(named.inputs), named.labels) == (["a", "labels"], None)


@pytest.mark.parametrize("labels", [np.zeros(2, np.int64), np.zeros(3), np.zeros((3, 1), np.int64)])
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, labels: Array) -> None:
    write_golden(tmp_path / "test.npz", Golden({"a": np.zeros((3, 2), np.float32)}, labels=labels))
    with pytest.raises(BadInputs, match=r"labels must be one integer a row, expected \[3\]"):
        read_test_set(model(TensorSpec("a", "FP32", (-1, 2))), tmp_path / "test.npz", never)


def test_a_test_set_needs_rows_and_a_folder_needs_pictures(tmp_path: Path) -> None:
    with pytest.raises(BadInputs, match="inputs and outputs all have rows"):
        read_test_set(model(TensorSpec("a", "FP32", (2,))), tmp_path, never)
    with pytest.raises(BadInputs, match="ranker has no image block: give an npz file"):
        read_test_set(RANKER, tmp_path, never)
