"""How much larger a message may become by being parsed.

A few bytes on the wire make an object of a hundred: 64 MiB of empty inputs would take 3 GB and two seconds, in which
the parser lets nobody else run. So a large message is walked by its wire form first (protobuf.dev, "Encoding"), which
makes nothing, and ends as soon as it is over a bound. What is malformed is left to the parser, which stops where the
walk did.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor

from gateway.core.errors import InvalidRequest

WALKED_FROM_BYTES = 32 * 1024
"""What is smaller cannot become large."""

MOST_MESSAGES = 16 * 1024
"""Messages in a message: inputs, outputs, parameters, dimensions."""

MOST_FIELDS = 128 * 1024
"""Fields in a message and in those within it. Each string of typed contents is one; packed numbers are one together."""

MOST_NUMBER_BYTES = 64 * 1024 * 1024
"""What packed integers may take once they are parsed: of one byte each on the wire, they grow by eight."""

_LONGEST_VARINT_BYTES = 10
_SMALL_BYTES = 64
_WIDTHS = {
    FieldDescriptor.CPPTYPE_INT32: 4,
    FieldDescriptor.CPPTYPE_UINT32: 4,
    FieldDescriptor.CPPTYPE_ENUM: 4,
    FieldDescriptor.CPPTYPE_INT64: 8,
    FieldDescriptor.CPPTYPE_UINT64: 8,
}


def check_bounds(message: bytes, descriptor: Any) -> None:
    """Hold the bytes of a message of this kind against the bounds. Raises InvalidRequest."""
    if len(message) < WALKED_FROM_BYTES:
        return
    try:
        _Walk(message, descriptor.name).go(0, len(message), _kind(descriptor))
    except (_Malformed, IndexError):
        return


class _Malformed(Exception):
    """The parser will say so."""


@dataclass(slots=True)
class _Kind:
    """What matters about a kind of message, by field number: those that hold messages, the size of packed integers."""

    messages: "dict[int, _Kind]" = field(default_factory=dict)
    widths: dict[int, int] = field(default_factory=dict)


@lru_cache(maxsize=64)
def _kind(descriptor: Any) -> _Kind:
    return _describe(descriptor, {})


def _describe(descriptor: Any, known: dict[str, _Kind]) -> _Kind:
    if descriptor.full_name in known:
        return known[descriptor.full_name]
    kind = known[descriptor.full_name] = _Kind()
    for described in descriptor.fields:
        if described.message_type is not None:
            kind.messages[described.number] = _describe(described.message_type, known)
        elif described.cpp_type in _WIDTHS:
            kind.widths[described.number] = _WIDTHS[described.cpp_type]
    return kind


class _Walk:
    """A walk through the fields of one message."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        self._fields = 0
        self._messages = 0
        self._number_bytes = 0

    def go(self, at: int, end: int, kind: _Kind) -> None:
        """Count what stands from `at` to `end`. Raises InvalidRequest, _Malformed, IndexError."""
        data = self._data
        while at < end:
            self._fields += 1
            if self._fields > MOST_FIELDS:
                raise self._refusal(f"{MOST_FIELDS} fields")
            tag = data[at]
            at += 1
            if tag > 0x7F:
                tag, at = self._varint(at - 1)
            wire_type = tag & 7
            if wire_type == 2:
                size = data[at]
                at += 1
                if size > 0x7F:
                    size, at = self._varint(at - 1)
                if at + size > end:
                    raise _Malformed
                self._enter(at, size, tag >> 3, kind)
                at += size
            elif wire_type == 0:
                _, at = self._varint(at)
            elif wire_type in (1, 5):
                at += 8 if wire_type == 1 else 4
            elif wire_type > 4:
                raise _Malformed
            # Nothing follows the tags of groups, which nobody uses: what is in them counts as if it stood here.

    def _enter(self, at: int, size: int, number: int, kind: _Kind) -> None:
        inner = kind.messages.get(number)
        if inner is not None:
            self._messages += 1
            if self._messages > MOST_MESSAGES:
                raise self._refusal(f"{MOST_MESSAGES} messages")
            self.go(at, at + size, inner)
        elif number in kind.widths:
            self._number_bytes += self._count_numbers(at, size) * kind.widths[number]
            if self._number_bytes > MOST_NUMBER_BYTES:
                raise self._refusal(f"{MOST_NUMBER_BYTES} bytes of integers")

    def _count_numbers(self, at: int, size: int) -> int:
        """How many varints, by their last bytes; of a few bytes, at most how many."""
        if size <= _SMALL_BYTES:
            return size
        return int(np.count_nonzero(np.frombuffer(self._data, np.int8, size, at) >= 0))

    def _varint(self, at: int) -> tuple[int, int]:
        number = shift = 0
        for place in range(at, at + _LONGEST_VARINT_BYTES):
            byte = self._data[place]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number, place + 1
            shift += 7
        raise _Malformed

    def _refusal(self, bound: str) -> InvalidRequest:
        return InvalidRequest(f"expected at most {bound} in a {self._name}, got more")
