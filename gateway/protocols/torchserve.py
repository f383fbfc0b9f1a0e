"""TorchServe's dialect: /predictions with a safetensors blob, JSON or pictures, and errors as TorchServe tells them.

A blob is answered by a blob and JSON by JSON; pictures are answered as its image_classifier does, the five most
probable labels and their probabilities. Sources: pytorch/serve, docs/inference_api.md; frontend, HttpUtils and
NettyUtils; ts/torch_handler/image_classifier.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import orjson
from starlette.requests import Request

from contracts import blobs
from gateway.core import errors
from gateway.core.errors import InvalidRequest, ServingError
from gateway.core.messages import InferAnswer
from gateway.core.published import ImageRecipe
from gateway.core.router import Router, VersionRoute
from gateway.core.tensors import Signature, Tensor
from gateway.protocols.call import Question
from gateway.protocols.classify import PictureInputs, score_labels, split_files
from gateway.protocols.exchange import HttpContent
from gateway.protocols.http_status import status_of
from gateway.protocols.json_keys import refuse_duplicate_keys
from gateway.protocols.json_tensor import decode_nested, encode_data
from gateway.protocols.raw_tensor import check_bools

JSON = "application/json"
BLOB = "application/octet-stream"
FIELDS = ("data", "body", "image")
"""The multipart fields that TorchServe's own handlers read, and ours."""

_BEST = 5
_BLOB_HEADER_BYTES = 8
_LARGEST_HEADER_BYTES = 64 * 1024

# The exceptions by which TorchServe's frontend tells of these; of the rest as a bad request, or an error of its own.
_TYPES: Mapping[type[ServingError], str] = {
    errors.TooSlow: "RequestTimeoutException",
    errors.DeadlineExceeded: "RequestTimeoutException",
    errors.Overloaded: "ServiceUnavailableException",
    errors.Unavailable: "ServiceUnavailableException",
    errors.EngineUnreachable: "ServiceUnavailableException",
    errors.VersionLost: "ServiceUnavailableException",
}


@dataclass(frozen=True, slots=True)
class PredictionCodec:
    """The dialect for one request, for `model` and `version` as the client wrote them."""

    model: str
    version: str | None
    router: Router
    pictures: PictureInputs
    protocol: str = "torchserve"

    async def decode(self, body: bytes, request: Request, route: VersionRoute) -> Question[HttpContent]:
        """See gateway.protocols.exchange.Codec."""
        files = await split_files(body, request, FIELDS)
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if len(files) == 1:
            if content_type != JSON and is_blob(files[0]):  # its first byte may be a bracket by chance
                return Question(decode_blob(files[0]), encode_blob, may_be_empty=True)
            if content_type == JSON or files[0].lstrip()[:1] in (b"{", b"["):
                return Question(decode_json(files[0], route.signature), encode_json)
        if route.image is None:
            raise InvalidRequest("expected a safetensors blob or JSON, got neither")
        inputs, recipe = await self.pictures.decode(files, "auto", route)
        return Question(inputs, lambda answer: encode_labels(answer, recipe, len(files)), (recipe.output,))

    def encode_error(self, error: ServingError) -> bytes:
        """See gateway.protocols.exchange.Dialect."""
        status, message = status_of(error), error.message
        kind = _TYPES.get(type(error), "InternalServerException" if status >= 500 else "BadRequestException")
        if isinstance(error, errors.NotFound):
            kind, message = "ModelNotFoundException", f"Model not found: {self.model}"
            if self.model in self.router.table.models:
                kind = "ModelVersionNotFoundException"
                message = f"Model version: {self.version} does not exist for model: {self.model}"
        return encode_error(status, kind, message)


def encode_error(code: int, kind: str, message: str) -> bytes:
    """TorchServe's error object; `kind` is the name of a Java exception."""
    return orjson.dumps({"code": code, "type": kind, "message": message}, option=orjson.OPT_INDENT_2) + b"\n"


def is_blob(body: bytes) -> bool:
    """Whether a body begins as safetensors do: the header's length in eight bytes, then its JSON."""
    if body[_BLOB_HEADER_BYTES : _BLOB_HEADER_BYTES + 1] != b"{":
        return False
    header = int.from_bytes(body[:_BLOB_HEADER_BYTES], "little")
    return header <= len(body) - _BLOB_HEADER_BYTES or body.lstrip()[:1] not in (b"{", b"[")


def decode_blob(body: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors blob by name. Raises InvalidRequest."""
    header = int.from_bytes(body[:_BLOB_HEADER_BYTES], "little")
    # A list of many tensors takes seconds to read, and no model has so many.
    if _LARGEST_HEADER_BYTES < header <= len(body):
        raise InvalidRequest(f"expected a safetensors header of at most {_LARGEST_HEADER_BYTES} bytes, got {header}")
    try:
        tensors = blobs.decode(body)
    except blobs.BadBlob as error:
        raise InvalidRequest(f"the body is not a safetensors blob: {error}") from error
    for name, tensor in tensors.items():
        check_bools(name, tensor)
    return tensors


def encode_blob(answer: InferAnswer) -> HttpContent:
    """The outputs as one safetensors blob, as the engine's handler answers. Raises InvalidRequest for BYTES."""
    try:
        return blobs.encode(answer.outputs), {"Content-Type": BLOB}
    except blobs.BadBlob as error:
        raise InvalidRequest(f"the outputs cannot be written as a blob: {error}") from error


def decode_json(body: bytes, signature: Signature) -> dict[str, Tensor]:
    """Nested lists: an object of them by input name, or the only input's alone. Raises InvalidRequest."""
    try:
        document = msgspec.json.decode(body, type=dict[str, msgspec.Raw] | list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"malformed JSON: {error}") from error
    if isinstance(document, list):
        if len(signature.inputs) != 1:
            names = ", ".join(spec.name for spec in signature.inputs)
            raise InvalidRequest(f"expected an object with {names}, got a list, which is for one input")
        given = {signature.inputs[0].name: body.strip()}
    else:
        for name in document:
            signature.input(name)  # a stranger is refused before anything else is looked at
        given = {name: bytes(raw) for name, raw in document.items()}
        refuse_duplicate_keys(body, sum(2 + data.count(b'"') for data in given.values()))
    specs = {name: signature.input(name) for name in given}
    return {name: decode_nested(name, data, specs[name]) for name, data in given.items()}


def encode_json(answer: InferAnswer) -> HttpContent:
    """The only output as nested lists, or an object of several by name. Raises InvalidRequest: not finite."""
    nested = {name: encode_data(name, tensor) for name, tensor in answer.outputs.items()}
    document = nested if len(nested) > 1 else next(iter(nested.values()))
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), {"Content-Type": JSON}


def encode_labels(answer: InferAnswer, recipe: ImageRecipe, pictures: int) -> HttpContent:
    """For each picture the most probable labels with their probabilities, best first; for one, without the list."""
    rows = []
    for row in score_labels(answer, recipe):
        best = np.argsort(-row, kind="stable")[:_BEST]
        rows.append({recipe.labels[index]: float(row[index]) for index in best})
    return orjson.dumps(rows[0] if pictures == 1 else rows), {"Content-Type": JSON}
