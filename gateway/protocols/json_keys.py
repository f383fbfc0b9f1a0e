"""Keys that a JSON object holds twice. Parsers disagree on which one counts, so nobody may be left guessing."""

import json
from collections.abc import Mapping
from typing import Any

from gateway.core.errors import InvalidRequest

_MOST_COUNTED = 64
"""Counting reads the whole document for each key: with many, one strict parse is less."""


def refuse_duplicate_keys(document: bytes, expected: Mapping[str, int]) -> None:
    """Refuse a document that was decoded already, when an object in it holds a key twice.

    `expected` says how often each key occurs in what was decoded. Only a document that holds one more often (perhaps
    within a string) is parsed again, strictly: counting costs microseconds. Raises InvalidRequest.
    """
    has_escapes = b"\\u" in document  # a key may be written in them
    is_counted = len(expected) <= _MOST_COUNTED and not has_escapes
    if is_counted and all(document.count(b'"%s"' % key.encode()) <= count for key, count in expected.items()):
        return
    try:
        json.loads(document, object_pairs_hook=_refuse_twins)
    except RecursionError as error:
        raise InvalidRequest("malformed inference request: JSON nested too deeply") from error
    except ValueError as error:
        raise InvalidRequest(f"malformed inference request: {error}") from error


def _refuse_twins(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise InvalidRequest(f"malformed inference request: the key {key!r} stands twice in one object")
        seen.add(key)
