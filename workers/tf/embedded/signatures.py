"""Holds a request against a SignatureDef: which inputs, which outputs, and, when strict, which shapes.

Wording and order follow tensorflow_serving/servables/tensorflow/predict_util.cc and tensorflow/cc/saved_model/util.cc.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workers.tf.embedded.faults import Code, Fault, invalid

DEFAULT = "serving_default"


def find_signature(signatures: Mapping[str, Any], name: str) -> Any:
    """The SignatureDef called `name`. Raises Fault(FAILED_PRECONDITION)."""
    signature = signatures.get(name)
    if signature is None:
        raise Fault(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    return signature


def match_inputs(signature: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The TensorProto of every input of the signature, its default where the request has none.

    Raises Fault(INVALID_ARGUMENT) for inputs too many, too few or misnamed.
    """
    required, defaults = signature.inputs, signature.defaults
    if len(given) > len(required) or (len(given) < len(required) and not defaults):
        raise invalid(
            f"input size does not match signature: {len(given)}!={len(required)} "
            f"len({_set(given)}) != len({_set(required)}). Sent extra: {_set(set(given) - set(required))}. "
            f"Missing but required: {_set(set(required) - set(given))}."
        )
    matched: dict[str, Any] = {}
    for alias in sorted(required):
        if alias in given:
            matched[alias] = given[alias]
        elif alias in defaults:
            matched[alias] = defaults[alias]
        else:
            raise invalid(
                f"Signature input alias: {alias}(feed name: {required[alias].name}) not found in request and no "
                f"default value provided. Inputs expected to be in the request {_set(given)}, "
                f"or default input alias set: {','.join(sorted(defaults))}"
            )
    if not set(given) <= set(required):
        used = sorted(set(given) & set(required))
        raise invalid(
            f"Inputs contains invalid name. Used request inputs: {','.join(used)}, "
            f"request input: {','.join(sorted(given))}"
        )
    return matched


def choose_outputs(signature: Any, output_filter: Sequence[str]) -> list[str]:
    """The output aliases to compute; an empty filter means all. Raises Fault(INVALID_ARGUMENT)."""
    if not output_filter:
        return list(signature.outputs)
    chosen: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {_set(signature.outputs)}."
            )
        if alias in chosen:
            raise invalid(f"duplicate output tensor alias: {alias}")
        chosen.append(alias)
    return chosen


def check_shape(alias: str, info: Any, shape: Sequence[int]) -> None:
    """Strict only: raises Fault(INVALID_ARGUMENT) when `shape` has another rank, or another size where one is fixed.

    The original does not look. A wrong rank can abort the whole process inside a kernel, so we do.
    """
    if info.tensor_shape.unknown_rank:
        return
    expected = [dim.size for dim in info.tensor_shape.dim]
    fits = len(expected) == len(shape) and all(e in (-1, got) for e, got in zip(expected, shape, strict=True))
    if not fits:
        raise invalid(f'Input "{alias}" expects shape {_shape(expected)}, received {_shape(shape)}')


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _shape(sizes: Sequence[int]) -> str:
    return "[" + ",".join(map(str, sizes)) + "]"
