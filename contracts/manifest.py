"""The manifest of a version: what it computes, from which weights, and the proof that both engines agree.

`manifest.json` lies in every version directory of the repository; the shipped weights carry the same structures
(`model.json` for what all versions share, `<version>.json` for how one was trained).
"""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

Dimension = Annotated[int, msgspec.Meta(ge=-1)]
DATATYPES = ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64")
"""Tensor datatypes by their Open Inference Protocol names."""


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One named tensor. `shape` has -1 where a dimension is free; a leading -1 counts the rows of a batch."""

    name: str
    datatype: str
    shape: tuple[Dimension, ...]

    def __post_init__(self) -> None:
        if self.datatype not in DATATYPES:
            raise ValueError(f"datatype {self.datatype!r} of {self.name!r} is none of {', '.join(DATATYPES)}")


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The named, typed, shaped inputs and outputs of a model; the same on both engines."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a picture becomes a row of `input`, and how a row of `output` becomes a label.

    Pixels are scaled to 0..1. `polarity` says what the model was trained on; `output` holds unnormalised log-odds,
    one a label.
    """

    input: str
    output: str
    width: Annotated[int, msgspec.Meta(gt=0)]
    height: Annotated[int, msgspec.Meta(gt=0)]
    mode: Literal["L"]
    polarity: Literal["light-on-dark", "dark-on-light"]
    labels: tuple[str, ...]


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all versions of a model share."""

    model: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    signature: Signature
    image: Image | None = None


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where weights come from. `test_accuracy` is a share of the test set, measured with the weights as stored."""

    framework: Literal["torch", "keras"]
    epochs: int
    seed: int
    learning_rate: float
    batch_size: int
    test_accuracy: float


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The canonical safetensors file, in PyTorch's layout. `sha256` is of its bytes, lower-case hex."""

    sha256: str
    training: Training


class Parity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parity certificate: both artifacts, fed the golden inputs, against a plain numpy forward pass.

    `max_abs_diff` is per engine, in units of the output, and at most `tolerance`; the argmax agreed on every image.
    """

    images: int
    tolerance: float
    max_abs_diff: dict[str, float]


def check_image(image: Image, signature: Signature) -> None:
    """Hold an image block against the signature it refers to. Raises ValueError."""
    inputs = {spec.name: spec.shape for spec in signature.inputs}
    outputs = {spec.name: spec.shape for spec in signature.outputs}
    wanted_input, wanted_output = (-1, image.height, image.width), (-1, len(image.labels))
    if set(inputs) != {image.input} or inputs[image.input] != wanted_input:
        raise ValueError(f"the image block needs the one input {image.input!r} {wanted_input}, there is {inputs}")
    if outputs.get(image.output) != wanted_output:
        raise ValueError(f"the image block needs output {image.output!r} {wanted_output}, there is {outputs}")


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`manifest.json` of a published version."""

    model: str
    version: Annotated[int, msgspec.Meta(gt=0)]
    signature: Signature
    weights: Weights
    parity: Parity
    image: Image | None = None

    def __post_init__(self) -> None:
        if self.image is not None:
            check_image(self.image, self.signature)


T = TypeVar("T")


class BadDocument(ValueError):
    """A JSON document of the repository does not say what it must; the message names file and field."""


def read_document(path: Path, kind: type[T]) -> T:
    """Read one of the structures above. Raises BadDocument, FileNotFoundError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.DecodeError as error:
        raise BadDocument(f"{path}: {error}") from error


def encode_document(document: object) -> bytes:
    """Encode one of the structures above as readable JSON, ending in a newline."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
