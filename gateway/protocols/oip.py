"""Open Inference Protocol V2 over HTTP: the codec, JSON and the binary tensor extension.

Sources: the protocol's inference request and response objects, and Triton's "binary tensor data extension"
(Inference-Header-Content-Length, binary_data_size, binary_data, binary_data_output, and the "raw binary request": no
JSON at all, header length 0).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import orjson

from gateway.core.errors import InvalidRequest
from gateway.core.messages import InferAnswer
from gateway.core.tensors import DATATYPES, Signature, Tensor, TensorSpec, count_elements
from gateway.protocols.json_keys import refuse_duplicate_keys
from gateway.protocols.json_tensor import decode_data, encode_data
from gateway.protocols.raw_tensor import check_announced, check_raw_size, decode_raw, encode_raw

JSON_TYPE = "application/json"
BINARY_TYPE = "application/octet-stream"
HEADER_LENGTH = "Inference-Header-Content-Length"

# What would change the meaning of a tensor is refused, not passed over.
_UNSUPPORTED = ("shared_memory_region", "classification")


class _Input(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] = {}
    data: msgspec.Raw = msgspec.Raw()


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Request(msgspec.Struct):
    inputs: list[_Input]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[_Output] = []


_REQUEST_DECODER = msgspec.json.Decoder(_Request)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request wants beside its tensors, and how its answer must look. `timeout_s` None: the default."""

    outputs: tuple[str, ...]
    id: str | None
    engine: str | None
    timeout_s: float | None
    is_binary: bool
    binary_by_name: dict[str, bool]


class Decoded(NamedTuple):
    """A decoded inference request."""

    inputs: dict[str, Tensor]
    asked: Asked


def decode_request(body: bytes, header_length: str | None, signature: Signature) -> Decoded:
    """Decode an inference request; `header_length` is the Inference-Header-Content-Length header, if sent.

    Names, datatypes and shapes are held against the signature first: data that cannot fit is not even read.

    Raises InvalidRequest naming what was expected and what came.
    """
    if header_length == "0":
        return _decode_raw_request(body, signature)
    document, tail = _split_body(body, header_length)
    request = _decode_document(document)
    inputs: dict[str, Tensor] = {}
    for item in request.inputs:
        if item.name in inputs:
            raise InvalidRequest(f"input {item.name!r} was sent twice")
        inputs[item.name], tail = _decode_input(item, tail, signature.input(item.name))
    if tail:
        raise InvalidRequest(f"{len(tail)} bytes follow the tensors that the inputs announce")
    for output in request.outputs:
        _refuse_unsupported("output", output.name, output.parameters)
    asked = Asked(
        outputs=tuple(output.name for output in request.outputs),
        id=request.id,
        engine=_parameter(request.parameters, "engine", str, None),
        timeout_s=_timeout_s(request.parameters),
        is_binary=_parameter(request.parameters, "binary_data_output", bool, False),
        binary_by_name={
            output.name: _parameter(output.parameters, "binary_data", bool, False)
            for output in request.outputs
            if "binary_data" in output.parameters
        },
    )
    return Decoded(inputs, asked)


def encode_answer(answer: InferAnswer, asked: Asked) -> tuple[bytes, dict[str, str]]:
    """Encode an answer as the request wanted it; returns the body and its headers."""
    outputs: list[dict[str, Any]] = []
    chunks: list[bytes] = []
    for name, tensor in answer.outputs.items():
        item: dict[str, Any] = {"name": name, "datatype": DATATYPES[tensor.dtype], "shape": tensor.shape}
        if asked.binary_by_name.get(name, asked.is_binary):
            chunks.append(encode_raw(tensor))
            item["parameters"] = {"binary_data_size": len(chunks[-1])}
        else:
            item["data"] = encode_data(name, tensor.reshape(-1))
        outputs.append(item)
    document: dict[str, Any] = {"model_name": answer.model, "model_version": str(answer.version), "outputs": outputs}
    if asked.id is not None:
        document["id"] = asked.id
    header = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if not chunks:
        return header, {"Content-Type": JSON_TYPE}
    return b"".join((header, *chunks)), {"Content-Type": BINARY_TYPE, HEADER_LENGTH: str(len(header))}


def encode_error(message: str) -> bytes:
    """The protocol's error object."""
    return orjson.dumps({"error": message})


def _decode_raw_request(body: bytes, signature: Signature) -> Decoded:
    """The whole body is the only input; the one size that its shape may leave open follows from the length."""
    if len(signature.inputs) != 1:
        raise InvalidRequest(
            f"expected JSON: a body of tensor data alone is for one input, not {len(signature.inputs)}"
        )
    [spec] = signature.inputs
    if spec.datatype == "BYTES":
        return _decoded_alone(spec, _decode_raw_string(body, spec))
    item_bytes = count_elements(tuple(size for size in spec.shape if size != -1)) * spec.dtype.itemsize
    is_whole = len(body) % item_bytes == 0 if item_bytes else not body
    if spec.shape.count(-1) > 1 or not is_whole or (-1 not in spec.shape and len(body) != item_bytes):
        raise InvalidRequest(f"expected whole tensors {spec} with at most one free size, got {len(body)} bytes")
    open_size = len(body) // item_bytes if item_bytes else 0
    shape = [open_size if size == -1 else size for size in spec.shape]
    check_announced(spec.name, spec.datatype, shape, spec)
    return _decoded_alone(spec, decode_raw(spec.name, body, spec.datatype, shape))


def _decode_raw_string(body: bytes, spec: TensorSpec) -> Tensor:
    """The whole body is the only element; its length is that of the body and does not stand before it."""
    if any(size not in (-1, 1) for size in spec.shape):
        raise InvalidRequest(f"expected JSON: a body of tensor data alone is one element, the model takes {spec}")
    tensor = spec.zeros([1] * len(spec.shape))
    tensor[...] = body
    return tensor


def _decoded_alone(spec: TensorSpec, tensor: Tensor) -> Decoded:
    return Decoded({spec.name: tensor}, Asked((), None, None, None, is_binary=True, binary_by_name={}))


def _refuse_unsupported(what: str, tensor: str, parameters: dict[str, Any]) -> None:
    for name in _UNSUPPORTED:
        if name in parameters:
            raise InvalidRequest(f"{what} {tensor!r}: parameter {name!r} is not supported here")


def _split_body(body: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    if header_length is None:
        return body, memoryview(b"")
    if not (header_length.isascii() and header_length.isdigit()) or len(header_length) > 12:
        raise InvalidRequest(f"{HEADER_LENGTH}: expected a number of bytes, got {header_length[:40]!r}")
    length = int(header_length)
    if length > len(body):
        raise InvalidRequest(f"{HEADER_LENGTH}: expected at most the body's {len(body)} bytes, got {length}")
    return body[:length], memoryview(body)[length:]


def _decode_document(document: bytes) -> _Request:
    try:
        request = _REQUEST_DECODER.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"malformed inference request: {error}") from error
    except RecursionError as error:
        raise InvalidRequest("malformed inference request: JSON nested too deeply") from error
    refuse_duplicate_keys(document, _count_quotes(request))
    return request


def _count_quotes(request: _Request) -> int:
    """How many quotation marks it takes to write this request; see gateway.protocols.json_keys."""
    quotes = 2 + 4 * (request.id is not None) + 2 * bool(request.outputs) + _quotes_in(request.parameters)
    for item in request.inputs:
        data = bytes(item.data)
        quotes += 10 + _quotes_in(item.parameters) + (2 + data.count(b'"') if data else 0)
    for output in request.outputs:
        quotes += 4 + _quotes_in(output.parameters)
    return quotes


def _quotes_in(parameters: dict[str, Any]) -> int:
    if not parameters:
        return 0
    return 2 + sum(4 if type(value) is str else 2 for value in parameters.values())


def _decode_input(item: _Input, tail: memoryview, spec: TensorSpec) -> tuple[Tensor, memoryview]:
    check_announced(item.name, item.datatype, item.shape, spec)
    _refuse_unsupported("input", item.name, item.parameters)
    if "binary_data_size" not in item.parameters:
        return decode_data(item.name, bytes(item.data), item.datatype, tuple(item.shape)), tail
    if bytes(item.data):
        raise InvalidRequest(f"input {item.name!r} has both data and binary_data_size: expected one of them")
    size = _parameter(item.parameters, "binary_data_size", int, 0)
    check_raw_size(item.name, item.datatype, item.shape, size)
    if size > len(tail):
        raise InvalidRequest(f"input {item.name!r}: expected {size} bytes of tensor data, got {len(tail)}")
    return decode_raw(item.name, tail[:size], item.datatype, item.shape), tail[size:]


def _timeout_s(parameters: dict[str, Any]) -> float | None:
    timeout_us: int | None = _parameter(parameters, "timeout", int, None)
    if timeout_us is None:
        return None
    if not 0 < timeout_us < 2**63:
        raise InvalidRequest(f"parameter 'timeout': expected microseconds above 0, got {str(timeout_us)[:40]}")
    return timeout_us / 1e6


def _parameter(parameters: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    value = parameters.get(name, default)
    if value is default or type(value) is kind:  # exact: True is no integer here
        return value
    raise InvalidRequest(f"parameter {name!r}: expected {kind.__name__}, got {str(value)[:40]!r}")
