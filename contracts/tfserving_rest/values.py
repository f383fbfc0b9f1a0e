"""JSON bodies to Python values, and values back into the words of an error message.

The C decoder of the standard library does the work wherever it must agree with RapidJSON; what it refuses, and what it
would take too lightly, goes to `grammar`.
"""

import base64
import binascii
import json
import re
from typing import Any

from contracts.tfserving_rest.grammar import BadJson, decode_float, decode_integer, decode_text, parse_exactly
from contracts.tfserving_rest.refusals import Refusal, invalid

DESCRIBED_BYTES = 256
"""How much of a JSON value an error message quotes."""

_B64 = "b64"
_BOM = "\ufeff"
_SPACE = re.compile(r"[ \n\r\t]*")
# The standard library pairs and forgives surrogates in its own way.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_NAMES = {bool: "", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number", type(None): "Null"}


def parse_json(body: bytes, exact_bytes: int | None = None) -> Any:
    """The object that is the top level of a request.

    A body over `exact_bytes` that the C decoder does not take is refused without being read exactly, which takes
    seconds a megabyte: then neither the words nor the offset are the original's.

    Raises Refusal when the body is no JSON, or its top level no object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = None if _SURROGATE.search(body) else _parse_fast(body)
        # Only the exact grammar says what is wrong, and where; it reads a lone value to its real end, too.
        if not isinstance(document, dict):
            if exact_bytes is not None and len(body) > exact_bytes:
                raise invalid(f"JSON Parse error: Invalid value somewhere in {len(body)} bytes.")
            document = parse_exactly(body)
    except BadJson as error:
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise complaint(document, "Is not object")
    return document


def _parse_fast(body: bytes) -> Any:
    text = decode_text(body).removeprefix(_BOM)
    start = _SPACE.match(text)
    try:
        return _DECODER.raw_decode(text, start.end() if start else 0)[0]
    except (ValueError, OverflowError, RecursionError):
        return None


def _first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    members = {}
    for name, value in pairs:
        members.setdefault(name, value)
    return members


_DECODER = json.JSONDecoder(object_pairs_hook=_first_of_each, parse_int=decode_integer, parse_float=decode_float)


def complaint(value: Any, what: str) -> Refusal:
    """A refusal that quotes the value it is about."""
    return invalid(f"JSON Value: {describe(value)} {what}")


def type_name(value: Any) -> str:
    """What RapidJSON calls the type of a value."""
    if isinstance(value, bool):
        return "True" if value else "False"
    return _NAMES[type(value)]


def describe(value: Any) -> str:
    """The value as indented JSON, cut after DESCRIBED_BYTES; costs no more for a larger value."""
    parts: list[str] = []
    length = 0
    todo: list[Any] = [(value, 0, "")]
    while todo and length < DESCRIBED_BYTES:
        item, depth, prefix = todo.pop()
        opening, children, closing = _opened(item, depth)
        parts.append(prefix + opening)
        length += len(parts[-1])
        if closing:
            todo.append((_Text(closing), 0, ""))
        todo.extend(reversed(children))
    return "".join(parts)[:DESCRIBED_BYTES]


class _Text(str):
    """Text that is already JSON."""

    __slots__ = ()


def _opened(item: Any, depth: int) -> tuple[str, list[Any], str]:
    """The beginning of a value, what stands inside of it (with depth and prefix), and its end."""
    if isinstance(item, _Text):
        return str(item), [], ""
    if not isinstance(item, dict | list) or not item:
        if isinstance(item, str):
            item = item[:DESCRIBED_BYTES]
        return json.dumps(item, ensure_ascii=False), [], ""
    # Each line costs its indentation, so the text is full long before the indentation is absurd.
    line = "\n" + " " * min(4 * (depth + 1), DESCRIBED_BYTES)
    end = "\n" + " " * min(4 * depth, DESCRIBED_BYTES)
    if isinstance(item, dict):
        named = list(item.items())[:DESCRIBED_BYTES]
        inside = [(v, depth + 1, f"{line}{json.dumps(k, ensure_ascii=False)}: ") for k, v in named]
    else:
        inside = [(v, depth + 1, line) for v in item[:DESCRIBED_BYTES]]
    separated = inside[:1] + [(v, d, "," + prefix) for v, d, prefix in inside[1:]]
    return ("{", separated, end + "}") if isinstance(item, dict) else ("[", separated, end + "]")


def is_base64(value: Any) -> bool:
    """True for `{"b64": "..."}`: one key, a string. It stands for bytes, not for an object."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(_B64), str)


def decode_base64(value: Any) -> bytes:
    """The bytes of such an object; padding may be left out. Raises Refusal."""
    if not is_base64(value):
        raise complaint(value, "not formatted correctly for base64 data")
    text = "".join(value[_B64].split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error
