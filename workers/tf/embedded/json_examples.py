"""The bodies of REST classify and regress: JSON objects to tf.Examples (tensorflow_serving/util/json_tensor.cc)."""

from typing import Any

from tensorflow.core.example import example_pb2

from contracts.tfserving_rest.grammar import encode_text
from contracts.tfserving_rest.refusals import Refusal, invalid
from contracts.tfserving_rest.values import complaint, decode_base64, is_base64, type_name

_CONTEXT = "context"
_EXAMPLES = "examples"
_INT64 = 2**63
_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def fill_input(document: dict[str, Any], target: Any) -> None:
    """Fill an Input message. Raises Refusal."""
    if _CONTEXT in document:
        holder = target.example_list_with_context
        holder.context.CopyFrom(_decode_example(document[_CONTEXT]))
    else:
        holder = target.example_list
    if _EXAMPLES not in document:
        # The original says classify even when it regresses.
        raise complaint(document, f"When method is classify, key '{_EXAMPLES}' is expected and was not found")
    examples = document[_EXAMPLES]
    if not isinstance(examples, list):
        raise complaint(document, f"Expecting '{_EXAMPLES}' value to be an list/array")
    if not examples:
        raise complaint(document, f"'{_EXAMPLES}' value is an empty array")
    holder.examples.extend([_decode_example(example) for example in examples])


def _decode_example(value: Any) -> Any:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_name(value)}")
    example: Any = example_pb2.Example()
    for name, content in value.items():
        feature = example.features.feature[encode_text(name).decode("utf-8", "replace")]
        for element in content if isinstance(content, list) else [content]:
            kind, item = _decode_element(name, element)
            if feature.WhichOneof("kind") not in (None, kind):
                expected = _KINDS[feature.WhichOneof("kind")]
                raise invalid(f"Unexpected element type in feature: {name} expecting type: {expected}")
            getattr(feature, kind).value.append(item)
    return example


def _decode_element(name: str, value: Any) -> tuple[str, Any]:
    """The list of a Feature that the value belongs into, and the value as it stands there."""
    if isinstance(value, bool):
        return "int64_list", int(value)
    if isinstance(value, int):
        if value >= _INT64:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        return "int64_list", value
    if isinstance(value, float):
        return "float_list", value
    if isinstance(value, str):
        return "bytes_list", encode_text(value)
    if is_base64(value):
        return "bytes_list", decode_base64(value)
    raise _unexpected(name, value)


def _unexpected(name: str, value: Any) -> Refusal:
    return invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")
