"""The body of REST predict, and its answer, by rows (`instances`, `predictions`) or columns (`inputs`, `outputs`).

Rules and wording: tensorflow_serving/util/json_tensor.cc.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contracts.tfserving_rest.arrays import Array, Shape, check_elements, decode_array, decode_rows, shape_of
from contracts.tfserving_rest.refusals import Refusal, invalid
from contracts.tfserving_rest.values import complaint, describe, is_base64

_SIGNATURE = "signature_name"
_ROWS = "instances"
_COLUMNS = "inputs"


@dataclass(frozen=True)
class JsonInputs:
    """Arrays by input alias; `is_row` says that each came in rows, and how the answer is to be written."""

    arrays: dict[str, Array]
    is_row: bool


def decode_signature_name(document: dict[str, Any]) -> str:
    """The signature asked for, "" for none. Raises Refusal when it is no string."""
    name = document.get(_SIGNATURE, "")
    if not isinstance(name, str):
        raise complaint(document, "not formatted correctly. 'signature_name' key must be a string value.")
    return name


def decode_inputs(document: dict[str, Any], dtypes: Mapping[str, str], signature_name: str) -> JsonInputs:
    """The tensors of a predict request, for the dtype of each input alias.

    Raises Refusal: INVALID_ARGUMENT, or UNIMPLEMENTED for a dtype that JSON does not carry.
    """
    if not dtypes:
        raise invalid(f"Failed to get input map for signature: {signature_name or 'DEFAULT'}")
    dtypes = dict(sorted(dtypes.items()))
    if _ROWS in document and _COLUMNS in document:
        raise complaint(
            document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        )
    if _ROWS in document:
        rows = document[_ROWS]
        if not isinstance(rows, list):
            raise complaint(document, "Expecting 'instances' to be an list/array")
        if not rows:
            raise complaint(document, "No values in 'instances' array")
        return JsonInputs(_decode_instances(rows, dtypes), is_row=True)
    if _COLUMNS in document:
        return JsonInputs(_decode_columns(document[_COLUMNS], dtypes), is_row=False)
    raise invalid("Missing 'inputs' or 'instances' key")


def _decode_columns(value: Any, dtypes: Mapping[str, str]) -> dict[str, Array]:
    if not _is_named(value):
        if len(dtypes) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map"
            )
        return {alias: decode_array(value, dtype) for alias, dtype in dtypes.items()}
    arrays = {}
    for alias, dtype in dtypes.items():
        if alias not in value:
            raise invalid(f"Missing named input: {alias} in 'inputs' object.")
        arrays[alias] = decode_array(value[alias], dtype)
    return arrays


def _decode_instances(rows: list[Any], dtypes: Mapping[str, str]) -> dict[str, Array]:
    is_named = _is_named(rows[0])
    if not is_named and len(dtypes) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map"
        )
    if not is_named:
        columns = dict.fromkeys(dtypes, rows)
        is_regular = not any(map(_is_named, rows))
    else:
        is_regular = all(_is_named(row) and row.keys() == dtypes.keys() for row in rows)
        columns = {alias: [row[alias] for row in rows] for alias in dtypes} if is_regular else {}
    if is_regular:
        decoded = {alias: decode_rows(column, dtypes[alias]) for alias, column in columns.items()}
        arrays = {alias: array for alias, array in decoded.items() if array is not None}
        if len(arrays) == len(dtypes):
            return arrays
    raise _first_fault(rows, dtypes, is_named)


def _first_fault(rows: list[Any], dtypes: Mapping[str, str], is_named: bool) -> Refusal:
    """What is wrong with the first row that is not as it should be."""
    shapes: dict[str, tuple[int, Shape]] = {}
    for index, row in enumerate(rows):
        if _is_named(row) is not is_named:
            what = "Expecting object but got list" if is_named else "Expecting value/list but got object"
            return invalid(f"{what} at item {index} of input list")
        items = row.items() if is_named else [(next(iter(dtypes)), row)]
        for alias, item in items:
            try:
                _check_item(item, alias, dtypes, shapes)
            except Refusal as refusal:
                key = f" key: {alias}" if is_named else ""
                return Refusal(
                    refusal.kind, f"Failed to process element: {index}{key} of 'instances' list. Error: {refusal}"
                )
        if is_named and row.keys() != dtypes.keys():
            return invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: {describe(row)} "
                f"keys must be equal to: {','.join(sorted(dtypes))}"
            )
    return invalid("A row of the 'instances' array is no tensor")


def _check_item(item: Any, alias: str, dtypes: Mapping[str, str], shapes: dict[str, tuple[int, Shape]]) -> None:
    if alias not in dtypes:
        raise invalid(f"JSON object: does not have named input: {alias}")
    shape = shape_of(item)
    size = check_elements(item, shape, dtypes[alias])
    expected_size, expected_shape = shapes.setdefault(alias, (size, shape))
    if size != expected_size:
        raise invalid(f"Expecting tensor size: {expected_size} but got: {size}")
    if shape != expected_shape:
        raise invalid(f"Expecting shape {_bracketed(expected_shape)} but got: {_bracketed(shape)}")


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _bracketed(shape: Shape) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
