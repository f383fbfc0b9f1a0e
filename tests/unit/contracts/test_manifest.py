"""What a manifest and a model description must say."""

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.manifest import BadDocument, Model, read_document

TENSOR = {"name": "a", "datatype": "FP32", "shape": [-1, 2]}
TEXT = TENSOR | {"datatype": "BYTES"}
MODEL: dict[str, Any] = {"model": "adder", "signature": {"inputs": [TENSOR], "outputs": [TENSOR]}}
IMAGE = {"input": "a", "output": "a", "width": 1, "height": 1, "mode": "L", "polarity": "light-on-dark", "labels": []}


def test_an_input_and_an_output_may_have_one_name(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    file.write_text(json.dumps(MODEL))
    assert read_document(file, Model).signature.inputs[0].shape == (-1, 2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "../adder"}, "Expected `str` matching regex"),
        ({"signature": {"inputs": [TENSOR, TENSOR], "outputs": [TENSOR]}}, "two inputs have one name"),
        ({"signature": {"inputs": [TENSOR], "outputs": []}}, "at least one output"),
        ({"image": IMAGE}, "the image block needs the one input 'a'"),
        ({"signature": {"inputs": [TEXT], "outputs": [TENSOR]}, "image": IMAGE}, "needs tensors of plain numbers, 'a'"),
        ({"signature": {"inputs": [TEXT | {"datatype": "STRING"}], "outputs": [TENSOR]}}, "'STRING' of 'a' is none of"),
        ({"more": 1}, "unknown field `more`"),
    ],
)
def test_a_description_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    file = tmp_path / "model.json"
    file.write_text(json.dumps(MODEL | changes))
    with pytest.raises(BadDocument, match=said):
        read_document(file, Model)


@pytest.mark.parametrize("data", [b"", b"[]", b'{"model": "\xff"}', b"{" * 100_000, b'{"model":' * 100_000])
def test_what_is_no_json_is_a_bad_document(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "model.json"
    file.write_bytes(data)
    with pytest.raises(BadDocument, match=r"model\.json: "):
        read_document(file, Model)
