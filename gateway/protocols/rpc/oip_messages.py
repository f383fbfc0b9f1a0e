"""Open Inference Protocol V2 over gRPC: the codec. Typed contents or raw bytes, answered in kind.

Source: the protocol's ModelInferRequest and ModelInferResponse; which datatype stands in which field of
InferTensorContents.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.byte_strings import array_of
from gateway.core.errors import InvalidRequest
from gateway.core.messages import InferAnswer
from gateway.core.tensors import BYTES, DATATYPES, DTYPES, Signature, Tensor, count_elements
from gateway.protocols.raw_tensor import check_announced, check_raw_size, decode_raw, encode_raw
from gateway.protocols.rpc.packed import read_packed, write_packed

FIELDS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field for each datatype; FP16 and BF16 have none, and are always raw."""

_LONGEST_TIMEOUT_US = 2**63
_UNSUPPORTED = ("shared_memory_region", "classification")


@dataclass(frozen=True, slots=True)
class Asked:
    """A decoded inference request, and whether its answer is to be raw. `timeout_s` None: the client did not say."""

    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    engine: str | None
    timeout_s: float | None
    is_raw: bool


def decode_request(request: Any, signature: Signature) -> Asked:
    """Decode a ModelInferRequest; what cannot fit the signature is not even read.

    Raises InvalidRequest naming what was expected and what came.
    """
    raw: Sequence[bytes] = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidRequest(
            f"expected raw_input_contents for each of {len(request.inputs)} inputs, or for none, got {len(raw)}"
        )
    inputs: dict[str, Tensor] = {}
    for index, item in enumerate(request.inputs):
        if item.name in inputs:
            raise InvalidRequest(f"input {item.name!r} was sent twice")
        check_announced(item.name, item.datatype, item.shape, signature.input(item.name))
        _refuse_unsupported(f"input {item.name!r}", item.parameters)
        inputs[item.name] = _decode_raw(item, raw[index]) if raw else _decode_typed(item)
    for output in request.outputs:
        _refuse_unsupported(f"output {output.name!r}", output.parameters)
    return Asked(
        inputs=inputs,
        outputs=tuple(output.name for output in request.outputs),
        engine=_parameter(request.parameters, "engine", ("string_param",)),
        timeout_s=_timeout_s(request.parameters),
        is_raw=bool(raw),
    )


def fill_response(response: Any, answer: InferAnswer, request_id: str, is_raw: bool) -> None:
    """Fill a ModelInferResponse. Raw is all or nothing, so that one output without a field makes all of them raw."""
    response.model_name = answer.model
    response.model_version = str(answer.version)
    response.id = request_id
    is_raw = is_raw or any(DATATYPES[tensor.dtype] not in FIELDS for tensor in answer.outputs.values())
    for name, tensor in answer.outputs.items():
        datatype = DATATYPES[tensor.dtype]
        item = response.outputs.add(name=name, datatype=datatype, shape=tensor.shape)
        if is_raw:
            response.raw_output_contents.append(encode_raw(tensor))
        else:
            item.contents.SetInParent()
            write_packed(item.contents, FIELDS[datatype], tensor)


def _decode_raw(item: Any, data: bytes) -> Tensor:
    if item.HasField("contents"):
        raise InvalidRequest(f"input {item.name!r} has contents beside raw_input_contents: expected one of them")
    check_raw_size(item.name, item.datatype, item.shape, len(data))
    return decode_raw(item.name, data, item.datatype, item.shape)


def _decode_typed(item: Any) -> Tensor:
    field = FIELDS.get(item.datatype)
    if field is None:
        raise InvalidRequest(f"input {item.name!r}: expected {item.datatype} in raw_input_contents")
    filled = [known.name for known, _ in item.contents.ListFields()]
    count = count_elements(tuple(item.shape))
    if filled not in ([field], []):
        raise InvalidRequest(f"input {item.name!r}: expected {item.datatype} in {field}, got {', '.join(filled)}")
    if len(getattr(item.contents, field)) != count:
        raise InvalidRequest(
            f"input {item.name!r}: expected {count} elements for shape {list(item.shape)}, "
            f"got {len(getattr(item.contents, field))}"
        )
    dtype = DTYPES[item.datatype]
    if dtype == BYTES:
        return array_of(item.contents.bytes_contents, item.shape)
    try:
        return read_packed(item.contents, field, dtype).reshape(tuple(item.shape))
    except OverflowError as error:
        raise InvalidRequest(f"input {item.name!r}: a number is out of range for {item.datatype}") from error


def _refuse_unsupported(where: str, parameters: Mapping[str, Any]) -> None:
    """What would change the meaning of an answer is refused, not passed over."""
    for name in _UNSUPPORTED:
        if name in parameters:
            raise InvalidRequest(f"{where}: parameter {name!r} is not supported here")


def _timeout_s(parameters: Mapping[str, Any]) -> float | None:
    timeout_us: int | None = _parameter(parameters, "timeout", ("int64_param", "uint64_param"))
    if timeout_us is None:
        return None
    if not 0 < timeout_us < _LONGEST_TIMEOUT_US:
        raise InvalidRequest(f"parameter 'timeout': expected microseconds above 0, got {timeout_us}")
    return timeout_us / 1e6


def _parameter(parameters: Mapping[str, Any], name: str, kinds: tuple[str, ...]) -> Any:
    if name not in parameters:
        return None
    kind = parameters[name].WhichOneof("parameter_choice")
    if kind not in kinds:
        raise InvalidRequest(f"parameter {name!r}: expected {' or '.join(kinds)}, got {kind or 'nothing'}")
    return getattr(parameters[name], kind)
