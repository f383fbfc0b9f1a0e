"""The manifest of a version: what it computes, from which weights, and the proof that both engines agree.

`manifest.json` lies in every version directory of the repository; the shipped weights carry the same structures
(`model.json` for what all versions share, `<version>.json` for how one was trained).
"""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

ModelName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Dimension = Annotated[int, msgspec.Meta(ge=-1)]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
DATATYPES = (
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "BF16", "BYTES"),
)
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

    def __post_init__(self) -> None:
        for side, specs in (("input", self.inputs), ("output", self.outputs)):
            names = [spec.name for spec in specs]
            if not names:
                raise ValueError(f"a signature needs at least one {side}")
            if len(set(names)) < len(names):
                raise ValueError(f"two {side}s have one name: {names}")


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


def check_image(image: Image, signature: Signature) -> None:
    """Hold an image block against the signature it refers to. Raises ValueError."""
    inputs = {spec.name: spec.shape for spec in signature.inputs}
    outputs = {spec.name: spec.shape for spec in signature.outputs}
    odd = [spec.name for spec in (*signature.inputs, *signature.outputs) if spec.datatype in ("BYTES", "BF16")]
    if odd:
        raise ValueError(f"an image block needs tensors of plain numbers, {odd[0]!r} has none")
    wanted_input, wanted_output = (-1, image.height, image.width), (-1, len(image.labels))
    if set(inputs) != {image.input} or inputs[image.input] != wanted_input:
        raise ValueError(f"the image block needs the one input {image.input!r} {wanted_input}, there is {inputs}")
    if outputs.get(image.output) != wanted_output:
        raise ValueError(f"the image block needs output {image.output!r} {wanted_output}, there is {outputs}")


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all versions of a model share."""

    model: ModelName
    signature: Signature
    image: Image | None = None

    def __post_init__(self) -> None:
        if self.image is not None:
            check_image(self.image, self.signature)


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


class Comparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What came of feeding `rows` rows to each engine's artifact; every mapping is by engine.

    `max_abs_diff` is in units of the outputs, `max_rel_diff` a share of the reference's value, over values of at least
    1e-3 in size (below, only the absolute difference says anything); both over all float outputs. Integer and bool
    outputs were equal. `argmax_agreement` is the share of rows whose largest score has the place it has in the
    reference, None when no output is a row of scores. `accuracy` is the share of rows whose largest score is their
    label's, None without labels.
    """

    rows: Annotated[int, msgspec.Meta(gt=0)]
    max_abs_diff: dict[str, float]
    max_rel_diff: dict[str, float]
    argmax_agreement: dict[str, float] | None = None
    accuracy: dict[str, float] | None = None


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When two artifacts count as one function: |difference| <= atol + rtol * |reference| for every float, and so on.

    `min_argmax_agreement` and `min_accuracy` are shares; no accuracy is asked for when it is None.
    """

    atol: Annotated[float, msgspec.Meta(ge=0)] = 1e-4
    rtol: Annotated[float, msgspec.Meta(ge=0)] = 1e-5
    min_argmax_agreement: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    min_accuracy: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class Parity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parity certificate: both artifacts against one reference, within `thresholds` or it would not exist.

    `reference` is a plain numpy forward pass over the `weights`, or, for a model that came as two artifacts, what its
    `torchscript` answers. A model with BYTES is for one engine alone, and its reference is its own `saved_model`: then
    the certificate says no more than that it answers. `golden` compares the golden inputs, `test_set` a whole test set
    where one was given.
    """

    reference: Literal["weights", "torchscript", "saved_model"]
    thresholds: Thresholds
    golden: Comparison
    test_set: Comparison | None = None


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`manifest.json` of a published version.

    `digests` has the sha256 (lower-case hex) of every other file of the version by its path below the version's
    directory, with slashes. `made_from` says by engine what its artifact was made from; an engine that is not in it
    cannot serve the version. `operators` are those that the SavedModel's graph and its functions use, sorted: an older
    server can tell from them whether it has them all. `accuracy` is a share of the test set: the lower engine's where
    publishing measured it, else what training recorded, else None.
    """

    model: str
    version: Annotated[int, msgspec.Meta(gt=0)]
    signature: Signature
    parity: Parity
    digests: dict[str, Sha256]
    made_from: dict[str, Literal["weights", "torchscript", "saved_model"]]
    operators: tuple[str, ...]
    accuracy: float | None = None
    weights: Weights | None = None
    image: Image | None = None

    def __post_init__(self) -> None:
        if self.image is not None:
            check_image(self.image, self.signature)


T = TypeVar("T")


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_OLDER = "an older twinserve published this version, without digests: delete its directory and publish it again"


class BadDocument(ValueError):
    """A JSON document of the repository does not say what it must; the message names file and field."""


def read_document(path: Path, kind: type[T]) -> T:
    """Read one of the structures above. Raises BadDocument, FileNotFoundError."""
    data = path.read_bytes()
    try:
        return msgspec.json.decode(data, type=kind)
    except _UNREADABLE as error:
        problem = _OLDER if kind is Manifest and _is_older_manifest(data) else error
        raise BadDocument(f"{path}: {problem}") from error


def _is_older_manifest(data: bytes) -> bool:
    """Whether this is a manifest from before versions carried digests."""
    try:
        fields = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except _UNREADABLE:
        return False
    return "signature" in fields and "digests" not in fields


def encode_document(document: object) -> bytes:
    """Encode one of the structures above as readable JSON, ending in a newline."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
