"""Keys that a JSON object holds twice. Parsers disagree on which one counts, so nobody may be left guessing."""

import json
from typing import Any

from gateway.core.errors import InvalidRequest


def refuse_duplicate_keys(document: bytes, quotes: int) -> None:
    """Refuse a document that was decoded already, when an object in it holds a key twice.

    `quotes` is how many quotation marks it takes to write what was decoded, two for a key and two for a string: a twin
    takes two more. Only a document with others than these is parsed again, strictly: counting takes microseconds.
    Raises InvalidRequest.
    """
    if document.count(b'"') == quotes:
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
