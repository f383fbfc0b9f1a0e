"""How each server is asked, and how its answer is read: the only place that knows their bodies."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from contracts import blobs
from contracts.descriptors import Package, load_pool
from contracts.oip_bodies import HEADER_LENGTH, decode_answer, encode_request
from contracts.tfserving import DATATYPE_NUMBERS, load_messages

Floats = NDArray[np.float32]

INPUT, OUTPUT = "images", "logits"
_BYTES = "application/octet-stream"


class Asked(NamedTuple):
    """A body, and the headers (HTTP) or metadata (gRPC) that belong to it."""

    body: bytes
    headers: Mapping[str, str]


class Dialect(Protocol):
    """Encodes images FP32 [N,28,28] as a request, decodes an answer to logits FP32 [N,10].

    `decode` raises ValueError, KeyError, TypeError or google's DecodeError for what is no answer; `header_length` is
    the answer's header Inference-Header-Content-Length, where it has one.
    """

    def encode(self, images: Floats) -> Asked: ...

    def decode(self, body: bytes, header_length: str | None) -> Floats: ...


class OipBinary(Dialect):
    """Open Inference Protocol with the binary tensor extension, both ways."""

    def encode(self, images: Floats) -> Asked:
        return Asked(*encode_request({INPUT: images}))

    def decode(self, body: bytes, header_length: str | None) -> Floats:
        return decode_answer(body, header_length)[OUTPUT]


class OipJson(Dialect):
    """Open Inference Protocol in JSON, both ways. Pixels are written with four digits, as a picture's grey needs."""

    def encode(self, images: Floats) -> Asked:
        data = np.round(images.astype(np.float64), 4).ravel().tolist()
        tensor = {"name": INPUT, "datatype": "FP32", "shape": list(images.shape), "data": data}
        return Asked(json.dumps({"inputs": [tensor]}).encode(), {"Content-Type": "application/json"})

    def decode(self, body: bytes, header_length: str | None) -> Floats:  # noqa: ARG002 - the dialects' one signature
        (output,) = json.loads(body)["outputs"]
        return np.array(output["data"], np.float32).reshape(output["shape"])


class Blob(Dialect):
    """What our gateway sends to TorchServe over REST: a safetensors blob each way."""

    def encode(self, images: Floats) -> Asked:
        return Asked(blobs.encode({INPUT: images}), {"Content-Type": _BYTES})

    def decode(self, body: bytes, header_length: str | None) -> Floats:  # noqa: ARG002
        return blobs.decode(body)[OUTPUT]


class RawFloats(Dialect):
    """The in-process server's: FP32 as they lie in memory."""

    def encode(self, images: Floats) -> Asked:
        return Asked(images.tobytes(), {"Content-Type": _BYTES})

    def decode(self, body: bytes, header_length: str | None) -> Floats:  # noqa: ARG002
        return np.frombuffer(body, np.float32).reshape(-1, 10)


class OipGrpc(Dialect):
    """ModelInferRequest with raw contents."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._messages = Package(load_pool(), "inference")

    def encode(self, images: Floats) -> Asked:
        request = self._messages.ModelInferRequest(model_name=self._model)
        request.inputs.add(name=INPUT, datatype="FP32", shape=images.shape)
        request.raw_input_contents.append(images.tobytes())
        return Asked(request.SerializeToString(), {})

    def decode(self, body: bytes, header_length: str | None) -> Floats:  # noqa: ARG002
        answer = self._messages.ModelInferResponse.FromString(body)
        (output,), (raw,) = answer.outputs, answer.raw_output_contents
        return np.frombuffer(raw, np.float32).reshape(tuple(output.shape))


class Predict(Dialect):
    """TensorFlow Serving's PredictRequest with tensor_content."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._messages = load_messages()

    def encode(self, images: Floats) -> Asked:
        request = self._messages.PredictRequest()
        request.model_spec.name = self._model
        proto = request.inputs[INPUT]
        proto.dtype = DATATYPE_NUMBERS["FP32"]
        for size in images.shape:
            proto.tensor_shape.dim.add(size=size)
        proto.tensor_content = images.tobytes()
        return Asked(request.SerializeToString(), {})

    def decode(self, body: bytes, header_length: str | None) -> Floats:  # noqa: ARG002
        proto: Any = self._messages.PredictResponse.FromString(body).outputs[OUTPUT]
        shape = tuple(dim.size for dim in proto.tensor_shape.dim)
        values = np.frombuffer(proto.tensor_content, np.float32) if proto.tensor_content else proto.float_val
        return np.array(values, np.float32).reshape(shape)


class TorchServeGrpc(Dialect):
    """TorchServe's own PredictionsRequest (frontend/server/src/main/resources/proto/inference.proto).

    message PredictionsRequest { string model_name = 1; string model_version = 2; map<string, bytes> input = 3; }
    message PredictionResponse { bytes prediction = 1; }. Written by hand, since the package ships no messages.
    """

    def __init__(self, model: str) -> None:
        self._model = model

    def encode(self, images: Floats) -> Asked:
        entry = encode_bytes_field(1, b"body") + encode_bytes_field(2, blobs.encode({INPUT: images}))
        return Asked(encode_bytes_field(1, self._model.encode()) + encode_bytes_field(3, entry), {})

    def decode(self, body: bytes, header_length: str | None) -> Floats:  # noqa: ARG002
        return blobs.decode(decode_bytes_field(1, body))[OUTPUT]


def encode_bytes_field(number: int, value: bytes) -> bytes:
    """A length-delimited field (Protocol Buffers, encoding: wire type 2)."""
    return bytes((number << 3 | 2,)) + _varint(len(value)) + value


def decode_bytes_field(number: int, message: bytes) -> bytes:
    """The field of that number, which must be the message's first and length-delimited. Raises ValueError."""
    if message[:1] != bytes((number << 3 | 2,)):
        raise ValueError(f"expected field {number} of bytes, got {message[:20]!r}")
    length = shift = 0
    for at in range(1, len(message)):
        length |= (message[at] & 0x7F) << shift
        shift += 7
        if message[at] < 0x80:
            value = message[at + 1 : at + 1 + length]
            if len(value) == length:
                return value
            break
    raise ValueError(f"field {number} ends too early")


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


DIFFERENCE_LIMIT = 5e-3
"""Largest difference of a right logit: pixels in JSON are rounded to four digits. Wrong rows are off by whole units."""


def find_wrong(expected: Floats, answer: Floats) -> str:
    """What is wrong with an answer; empty when its labels and logits are those known."""
    if answer.shape != expected.shape:
        return f"expected logits {list(expected.shape)}, got {list(answer.shape)}"
    difference = float(np.nan_to_num(np.abs(expected - answer), nan=np.inf).max(initial=0.0))
    if difference > DIFFERENCE_LIMIT:
        return f"logits off by {difference:.3g}"
    return ""


def sample_rows(first: int, rows: int, count: int) -> Sequence[int]:
    """Which of `count` known images request number `first` has: `rows` of them, around the end."""
    return [(first + offset) % count for offset in range(rows)]


__all__ = [
    "DIFFERENCE_LIMIT",
    "HEADER_LENGTH",
    "Asked",
    "Blob",
    "Dialect",
    "Floats",
    "OipBinary",
    "OipGrpc",
    "OipJson",
    "Predict",
    "RawFloats",
    "TorchServeGrpc",
    "find_wrong",
    "sample_rows",
]
