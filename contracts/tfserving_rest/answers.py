"""Answers as JSON text, in the original's numbers.

A float is written in six digits when these bring it back, else in as many as it takes; a whole one keeps `.0`, and what
is not finite is NaN, Infinity or -Infinity, which strict JSON does not know (tensorflow_serving/util/json_tensor.cc).
"""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contracts.tfserving_rest.arrays import Array
from contracts.tfserving_rest.grammar import decode_text, encode_text
from contracts.tfserving_rest.refusals import invalid

_ROW_KEY = "predictions"
_COLUMN_KEY = "outputs"
_RESULTS_KEY = "results"
_BYTES_SUFFIX = "_bytes"
_DIGITS = {np.dtype(np.float32): 9, np.dtype(np.float64): 17}
_INTEGERS = frozenset(
    np.dtype(dtype) for dtype in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32, np.uint64)
)
_NAMES = {"float16": "half", "object": "string", "[('bfloat16', '<u2')]": "bfloat16"}


def encode_error(message: str) -> bytes:
    """The error body: an object with the one key "error"."""
    return encode_text(json.dumps({"error": message}, indent=4, ensure_ascii=False))


def _check_outputs(outputs: Mapping[str, Array], is_row: bool) -> None:
    """Raises what `encode_outputs` would raise, at a cost that does not grow with the arrays."""
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    if is_row:
        _check_rows(outputs)
    for array in outputs.values():
        if not (array.dtype in _DIGITS or array.dtype in _INTEGERS or array.dtype == np.bool_ or array.dtype.hasobject):
            name = _NAMES.get(str(array.dtype), str(array.dtype))
            raise invalid(f"Failed to write JSON value for tensor type: {name}")


def encode_outputs(outputs: Mapping[str, Array], is_row: bool) -> bytes:
    """Arrays by output alias as the body of a predict answer.

    Raises Refusal for a dtype that JSON does not carry and, in rows, for arrays that have none, or
    different numbers of them.
    """
    _check_outputs(outputs, is_row)
    if is_row:
        return _document(_ROW_KEY, _rows(outputs))
    texts = {alias: _nested(_element_texts(alias, array), array.shape, 0)[0] for alias, array in outputs.items()}
    return _document(_COLUMN_KEY, _object(texts) if len(texts) > 1 else next(iter(texts.values())))


def encode_classifications(rows: Sequence[Sequence[tuple[bytes, float]]]) -> bytes:
    """A list of [label, score] for each example."""
    scores = iter(float_texts(np.array([score for row in rows for _, score in row], np.float32)))
    texts = ["[" + ", ".join(f"[{_string(label)}, {next(scores)}]" for label, _ in row) + "]" for row in rows]
    return _document(_RESULTS_KEY, _lines(texts))


def encode_regressions(values: Sequence[float]) -> bytes:
    """A number for each example."""
    return _document(_RESULTS_KEY, "[" + ", ".join(float_texts(np.array(values, np.float32))) + "]")


def float_texts(array: Array) -> list[str]:
    """Each element of a float32 or float64 array, in C order, as JSON."""
    flat = array.ravel()
    values = flat.tolist()
    short = [f"{value:g}" for value in values]
    is_exact = (np.array([float(text) for text in short]).astype(array.dtype) == flat).tolist()
    digits = _DIGITS[array.dtype]
    return [
        _float_text(value, text if exact else f"{value:.{digits}g}")
        for value, text, exact in zip(values, short, is_exact, strict=True)
    ]


def _float_text(value: float, text: str) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return text if "." in text or "e" in text else text + ".0"


def _check_rows(outputs: Mapping[str, Array]) -> None:
    count: int | None = None
    for alias, array in outputs.items():
        if not array.shape:
            raise invalid(f"Tensor name: {alias} has no shape information ")
        if count is not None and array.shape[0] != count:
            raise invalid(f"Tensor name: {alias} has inconsistent batch size: {array.shape[0]} expecting: {count}")
        count = array.shape[0]


def _rows(outputs: Mapping[str, Array]) -> str:
    columns = {alias: _nested(_element_texts(alias, array), array.shape, 1) for alias, array in outputs.items()}
    if len(columns) == 1:
        return _lines(next(iter(columns.values())))
    rows = zip(*columns.values(), strict=True)
    return _lines([_object(dict(zip(columns, row, strict=True))) for row in rows])


def _element_texts(alias: str, array: Array) -> list[str]:
    if array.dtype in _DIGITS:
        return float_texts(array)
    if array.dtype in _INTEGERS:
        return list(map(str, array.ravel().tolist()))
    if array.dtype == np.bool_:
        return ["true" if value else "false" for value in array.ravel().tolist()]
    write = _base64 if alias.endswith(_BYTES_SUFFIX) else _string
    return [write(_bytes(value)) for value in array.ravel().tolist()]


def _nested(texts: list[str], shape: Sequence[int], down_to: int) -> list[str]:
    """The elements joined into lists, from the last axis down to axis `down_to`."""
    for axis in range(len(shape) - 1, down_to - 1, -1):
        size = shape[axis]
        groups = math.prod(shape[:axis])
        texts = ["[" + ", ".join(texts[size * group : size * (group + 1)]) + "]" for group in range(groups)]
    return texts


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _string(value: bytes) -> str:
    return json.dumps(decode_text(value), ensure_ascii=False)


def _base64(value: bytes) -> str:
    return f'{{"b64": "{base64.b64encode(value).decode()}"}}'


def _lines(texts: Sequence[str]) -> str:
    return "[" + ",\n        ".join(texts) + "]"


def _object(texts: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {text}" for name, text in texts.items()) + "}"


def _document(key: str, text: str) -> bytes:
    return encode_text(f'{{\n    "{key}": {text}\n}}\n')
