"""How a question is put and an answer read in each protocol: bodies and paths, without any connection.

Every `decode` raises ValueError, KeyError, TypeError or google's DecodeError for what is no answer.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from google.protobuf.message import DecodeError
from PIL import Image as Picture

from contracts.descriptors import Package, load_pool
from contracts.oip_bodies import HEADER_LENGTH, Array, decode_answer, encode_request
from loadtest.scenarios import shapes
from loadtest.scenarios.answers import Answer
from loadtest.scenarios.questions import Question

INFER_METHOD = "/inference.GRPCInferenceService/ModelInfer"
NO_ANSWER = (ValueError, KeyError, TypeError, DecodeError)


@dataclass(frozen=True)
class Message:
    """A request as it is sent; `path` is a URL's, or the gRPC method."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Dialect(Protocol):
    """One protocol for one model. `headers` of an answer have lower-case names."""

    def encode(self, question: Question) -> Message: ...

    def decode(self, body: bytes, headers: Mapping[str, str]) -> Answer: ...


def make_dialect(protocol: shapes.Protocol, model: str) -> Dialect:
    """The dialect of a protocol."""
    if protocol is shapes.Protocol.JSON:
        return OipJson(model)
    if protocol is shapes.Protocol.BINARY:
        return OipBinary(model)
    return Classify(model) if protocol is shapes.Protocol.IMAGE else OipGrpc(model)


class OipBinary:
    """Open Inference Protocol with the binary tensor extension, both ways."""

    def __init__(self, model: str) -> None:
        self._path = f"/v2/models/{model}/infer"

    def encode(self, question: Question) -> Message:
        return Message(self._path, *encode_request(question.inputs))

    def decode(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        length = headers.get(HEADER_LENGTH.lower())
        outputs = decode_answer(body, length)
        told = json.loads(body[: int(length or 0)])["model_version"]
        return Answer(*_who(headers), str(told), outputs)


class OipJson:
    """Open Inference Protocol in JSON, both ways."""

    def __init__(self, model: str) -> None:
        self._path = f"/v2/models/{model}/infer"

    def encode(self, question: Question) -> Message:
        tensors = [
            {"name": name, "datatype": _datatype(tensor), "shape": list(tensor.shape), "data": _plain(tensor)}
            for name, tensor in question.inputs.items()
        ]
        return Message(self._path, json.dumps({"inputs": tensors}).encode(), {"Content-Type": "application/json"})

    def decode(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        document = json.loads(body)
        outputs = {item["name"]: _from_json(item) for item in document["outputs"]}
        return Answer(*_who(headers), str(document["model_version"]), outputs)


class Classify:
    """A PNG of the one row's picture, as the model sees it: the gateway need not invert it."""

    def __init__(self, model: str) -> None:
        self._path = f"/models/{model}/classify?invert=no"

    def encode(self, question: Question) -> Message:
        (pixels,) = question.inputs.values()
        if pixels.ndim != 3:
            raise ValueError(f"no picture: rows are {list(pixels.shape[1:])}, expected height and width")
        grey = np.clip(np.rint(pixels[0].astype(np.float64) * 255), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Picture.fromarray(grey).save(file, "PNG")
        return Message(self._path, file.getvalue(), {"Content-Type": "image/png"})

    def decode(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        document = json.loads(body)
        (prediction,) = document["predictions"]
        scores = np.array([prediction["scores"]], np.float64)
        return Answer(*_who(headers), str(document["version"]), label=str(prediction["label"]), scores=scores)


class OipGrpc:
    """ModelInfer with raw contents, both ways."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._messages = Package(load_pool(), "inference")

    def encode(self, question: Question) -> Message:
        request = self._messages.ModelInferRequest(model_name=self._model)
        for name, tensor in question.inputs.items():
            request.inputs.add(name=name, datatype=_datatype(tensor), shape=tensor.shape)
            request.raw_input_contents.append(_raw(tensor))
        return Message(INFER_METHOD, request.SerializeToString())

    def decode(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        answer = self._messages.ModelInferResponse.FromString(body)
        described = [
            {
                "name": output.name,
                "datatype": output.datatype,
                "shape": list(output.shape),
                "parameters": {"binary_data_size": len(raw)},
            }
            for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
        ]
        header = json.dumps({"outputs": described}).encode()  # the same raw tensors, in the other protocol's words
        outputs = decode_answer(header + b"".join(answer.raw_output_contents), str(len(header)))
        return Answer(*_who(headers), answer.model_version, outputs)


def _who(headers: Mapping[str, str]) -> tuple[str, str]:
    """Version and engine, as the answer says."""
    return headers.get("x-model-version", ""), headers.get("x-engine", "")


def _described(tensor: Array) -> tuple[dict[str, Any], bytes]:
    """One tensor's description and raw bytes."""
    body, headers = encode_request({"": tensor})
    end = int(headers[HEADER_LENGTH])
    description: dict[str, Any] = json.loads(body[:end])["inputs"][0]
    return description, body[end:]


def _datatype(tensor: Array) -> str:
    return str(_described(tensor)[0]["datatype"])


def _raw(tensor: Array) -> bytes:
    return _described(tensor)[1]


def _plain(tensor: Array) -> list[Any]:
    """The elements in a row: floats with as many digits as tell them apart, strings as text. Raises ValueError."""
    if tensor.dtype.kind == "O":
        return [element.decode() for element in tensor.ravel().tolist()]
    if tensor.dtype.kind == "V":
        raise ValueError("BF16 has no place in JSON")
    if tensor.dtype.kind == "f":
        return [float(str(element)) for element in tensor.ravel()]
    return list(tensor.ravel().tolist())


def _from_json(item: Mapping[str, Any]) -> Array:
    if item["datatype"] == "BYTES":
        elements = np.empty(len(item["data"]), np.object_)
        elements[:] = [text.encode() for text in item["data"]]
        return elements.reshape(item["shape"])
    return np.array(item["data"]).reshape(item["shape"])
