"""Open Inference Protocol V2 over gRPC: the codec. Typed contents or raw bytes, answered in kind.

Source: the protocol's ModelInferRequest and ModelInferResponse; which datatype stands in which field of
InferTensorContents.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from contracts.byte_strings import array_of
from gateway.core.errors import InvalidRequest
from gateway.core.messages import InferAnswer
from gateway.core.tensors import BYTES, DATATYPES, DTYPES, Signature, Tensor, TensorSpec, count_elements
from gateway.protocols.raw_tensor import MAX_RANK, check_announced, check_raw_size, decode_raw, encode_raw
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


class Asked(NamedTuple):
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
    items: Sequence[Any] = request.inputs
    raw: Sequence[bytes] = request.raw_input_contents
    if raw and len(raw) != len(items):
        raise InvalidRequest(
            f"expected raw_input_contents for each of {len(items)} inputs, or for none, got {len(raw)}"
        )
    inputs: dict[str, Tensor] = {}
    for index, item in enumerate(items):
        name: str = item.name
        if name in inputs:
            raise InvalidRequest(f"input {name!r} was sent twice")
        inputs[name] = _decode_input(item, signature.input(name), raw[index] if raw else None)
    outputs = []
    for output in request.outputs:
        outputs.append(output.name)
        _refuse_unsupported("output", output.name, output.parameters)
    parameters = request.parameters
    return Asked(
        inputs=inputs,
        outputs=tuple(outputs),
        engine=_parameter(parameters, "engine", ("string_param",)),
        timeout_s=_timeout_s(parameters),
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


def _decode_input(item: Any, spec: TensorSpec, data: bytes | None) -> Tensor:
    """The tensor that `spec` describes, of `data` or, where that is None, of typed contents.

    What is needed twice of a message is kept: it makes its values anew for each look.
    """
    name, datatype = spec.name, item.datatype
    shape: tuple[int, ...] = tuple(item.shape[: MAX_RANK + 1])  # a client may send millions of sizes
    check_announced(name, datatype, shape, spec)
    _refuse_unsupported("input", name, item.parameters)
    if data is None:
        return _decode_typed(name, datatype, shape, item.contents)
    if item.HasField("contents"):
        raise InvalidRequest(f"input {name!r} has contents beside raw_input_contents: expected one of them")
    check_raw_size(name, datatype, shape, len(data))
    return decode_raw(name, data, datatype, shape)


def _decode_typed(name: str, datatype: str, shape: tuple[int, ...], contents: Any) -> Tensor:
    field = FIELDS.get(datatype)
    if field is None:
        raise InvalidRequest(f"input {name!r}: expected {datatype} in raw_input_contents")
    filled = [known.name for known, _ in contents.ListFields()]
    if filled not in ([field], []):
        raise InvalidRequest(f"input {name!r}: expected {datatype} in {field}, got {', '.join(filled)}")
    values = getattr(contents, field)
    if len(values) != (count := count_elements(shape)):
        raise InvalidRequest(f"input {name!r}: expected {count} elements for shape {list(shape)}, got {len(values)}")
    dtype = DTYPES[datatype]
    if dtype == BYTES:
        return array_of(values, shape)
    try:
        return read_packed(contents, field, dtype).reshape(shape)
    except OverflowError as error:
        raise InvalidRequest(f"input {name!r}: a number is out of range for {datatype}") from error


def _refuse_unsupported(what: str, name: str, parameters: Mapping[str, Any]) -> None:
    """What would change the meaning of an answer is refused, not passed over."""
    for parameter in _UNSUPPORTED:
        if parameter in parameters:
            raise InvalidRequest(f"{what} {name!r}: parameter {parameter!r} is not supported here")


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
