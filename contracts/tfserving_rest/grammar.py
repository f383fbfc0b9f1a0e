"""JSON as RapidJSON's iterative parser reads it: slow, exact, and no deeper in the stack for deeper documents.

It differs from the standard: bytes after the top-level value are ignored, NaN, Inf and Infinity are numbers with or
without a sign, a NUL ends the document, and text is bytes that nobody checks for being UTF-8 (they become lone
surrogates, see `decode_text`). The first of two equal keys wins. Every refusal carries RapidJSON's words and the offset
in bytes. Facts: rapidjson/reader.h, state table of IterativeParse.
"""

import re
from enum import Enum
from itertools import takewhile
from typing import Any

_SPACE = re.compile(rb"[ \n\r\t]*")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(rb"-?(?:Infinity|Inf(?!i)|NaN)")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_HEX = re.compile(rb"[0-9a-fA-F]{4}")
_ESCAPES = dict(zip(b'"\\/bfnrt', (b'"', b"\\", b"/", b"\b", b"\f", b"\n", b"\r", b"\t"), strict=True))
_LITERALS = {ord("n"): (b"null", None), ord("t"): (b"true", True), ord("f"): (b"false", False)}
_BOM = b"\xef\xbb\xbf"
_LOWEST, _HIGHEST = -(2**63), 2**64


class _Wait(Enum):
    """What must come next; the value is what to say when it does not."""

    NAME = "Missing a name for object member."
    COLON = "Missing a colon after a name of object member."
    MEMBER_END = "Missing a comma or '}' after an object member."
    ELEMENT_END = "Missing a comma or ']' after an array element."
    VALUE = "Invalid value."
    DOCUMENT = "The document is empty."


class BadJson(ValueError):
    """The message ends in ` at offset: <bytes>`."""

    def __init__(self, what: str, offset: int) -> None:
        super().__init__(f"{what} at offset: {offset}")


def decode_text(data: bytes) -> str:
    """UTF-8 to str; a byte that is no UTF-8 becomes a lone surrogate, which encode_text turns back."""
    return data.decode("utf-8", "surrogateescape")


def encode_text(text: str) -> bytes:
    """The bytes decode_text was given."""
    return text.encode("utf-8", "surrogateescape")


def decode_integer(text: str | bytes) -> int | float:
    """An int when it fits 64 bits, signed or not, else the float nearest. Raises OverflowError beyond any float."""
    if len(text) < 19:
        return int(text)
    as_float = float(text)
    if not -1e20 < as_float < 1e20:
        return decode_float(text)
    number = int(text)
    return number if _LOWEST <= number < _HIGHEST else as_float


def decode_float(text: str | bytes) -> float:
    """The float nearest. Raises OverflowError when there is none but infinity."""
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise OverflowError("Number too big to be stored in double.")
    return number


def parse_exactly(data: bytes) -> Any:
    """The top-level value: dict, list, str, int, float, bool or None. Raises BadJson."""
    return _Parser(data).parse()


class _Parser:
    """Containers that are still open lie on a stack, those of objects with the name whose value is awaited."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = len(_BOM) if data.startswith(_BOM) else 0
        self._open: list[tuple[dict[str, Any] | list[Any], str]] = []
        self._wait = _Wait.DOCUMENT
        self._root: Any = None

    def parse(self) -> Any:
        while True:
            self._skip_space()
            # An empty container may close where its first element is awaited; after a comma nothing may close.
            if self._wait is _Wait.COLON:
                self._take(b":")
                self._wait = _Wait.VALUE
            elif self._wait in (_Wait.MEMBER_END, _Wait.ELEMENT_END):
                self._separate_or_close()
            elif self._wait is _Wait.NAME:
                self._name()
            else:
                self._value()
            if not self._open and self._wait is not _Wait.DOCUMENT:
                return self._root

    def _peek(self) -> int:
        return self._data[self._at] if self._at < len(self._data) else 0

    def _skip_space(self) -> None:
        match = _SPACE.match(self._data, self._at)
        self._at = match.end() if match else self._at

    def _take(self, wanted: bytes) -> None:
        if self._peek() != wanted[0]:
            raise BadJson(self._wait.value, self._at)
        self._at += 1

    def _separate_or_close(self) -> None:
        container = self._open[-1][0]
        closing, after_comma = (b"}", _Wait.NAME) if isinstance(container, dict) else (b"]", _Wait.VALUE)
        if self._peek() == ord(","):
            self._at += 1
            self._wait = after_comma
        else:
            self._take(closing)
            self._close()

    def _name(self) -> None:
        if self._peek() != ord('"'):
            raise BadJson(self._wait.value, self._at)
        container, _ = self._open.pop()
        self._open.append((container, self._string()))
        self._wait = _Wait.COLON

    def _value(self) -> None:
        byte = self._peek()
        if byte == ord("{"):
            self._enter({}, b"}", _Wait.NAME)
        elif byte == ord("["):
            self._enter([], b"]", _Wait.VALUE)
        elif byte == ord('"'):
            self._store(self._string())
        elif byte in _LITERALS:
            self._literal(*_LITERALS[byte])
        elif byte in b",:]}\0":
            raise BadJson(self._wait.value, self._at)
        else:
            self._store(self._number())

    def _enter(self, container: dict[str, Any] | list[Any], closing: bytes, wait: _Wait) -> None:
        self._at += 1
        self._open.append((container, ""))
        self._wait = wait
        self._skip_space()
        if self._peek() == closing[0]:
            self._at += 1
            self._close()

    def _close(self) -> None:
        container, _ = self._open.pop()
        self._store(container)

    def _store(self, value: Any) -> None:
        if not self._open:
            self._root, self._wait = value, _Wait.VALUE
            return
        container, name = self._open[-1]
        if isinstance(container, dict):
            container.setdefault(name, value)
            self._wait = _Wait.MEMBER_END
        else:
            container.append(value)
            self._wait = _Wait.ELEMENT_END

    def _literal(self, word: bytes, value: bool | None) -> None:
        for byte in word:
            if self._peek() != byte:
                raise BadJson(_Wait.VALUE.value, self._at)
            self._at += 1
        self._store(value)

    def _number(self) -> int | float:
        start = self._at
        match = _NUMBER.match(self._data, start) or _NOT_FINITE.match(self._data, start)
        if match is None:
            raise BadJson(_Wait.VALUE.value, self._end_of_likeness(start))
        self._at = match.end()
        if match.re is _NOT_FINITE:
            return float(match[0])
        fraction, exponent = match.groups()
        following = self._peek()
        if following == ord(".") and fraction is None and exponent is None:
            raise BadJson("Miss fraction part in number.", self._at + 1)
        if following in b"eE" and exponent is None and following:
            signs = self._data[self._at + 1 : self._at + 2] in (b"+", b"-")
            raise BadJson("Miss exponent in number.", self._at + 1 + signs)
        try:
            return decode_integer(match[0]) if fraction is exponent is None else decode_float(match[0])
        except OverflowError as error:
            raise BadJson(str(error), start) from error

    def _end_of_likeness(self, start: int) -> int:
        """Where what begins at `start` ceases to look like a number."""
        start += self._peek() == ord("-")
        word = b"NaN" if self._data[start : start + 1] == b"N" else b"Infinity"
        pairs = zip(word, self._data[start : start + len(word)], strict=False)
        return start + sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    def _string(self) -> str:
        self._at += 1
        parts = []
        while True:
            match = _PLAIN.match(self._data, self._at)
            assert match is not None  # noqa: S101 - the pattern matches nothing at all, too
            parts.append(match[0])
            self._at = match.end()
            byte = self._peek()
            if byte == ord('"'):
                self._at += 1
                return decode_text(b"".join(parts))
            if byte != ord("\\"):
                what = "Invalid encoding in string." if byte else "Missing a closing quotation mark in string."
                raise BadJson(what, self._at)
            parts.append(self._escape())

    def _escape(self) -> bytes:
        start = self._at
        self._at += 2
        letter = self._data[start + 1] if start + 1 < len(self._data) else 0
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        if letter != ord("u"):
            raise BadJson("Invalid escape character in string.", start)
        code = self._hex(start)
        if 0xD800 <= code <= 0xDFFF:
            second = 0
            if code <= 0xDBFF and self._data[self._at : self._at + 2] == b"\\u":
                self._at += 2
                second = self._hex(start)
            if not 0xDC00 <= second <= 0xDFFF:
                raise BadJson("The surrogate pair in string is invalid.", start)
            code = 0x10000 + (code - 0xD800 << 10) + (second - 0xDC00)
        return chr(code).encode()

    def _hex(self, escape_start: int) -> int:
        match = _HEX.match(self._data, self._at)
        if match is None:
            raise BadJson("Incorrect hex digit after \\u escape in string.", escape_start)
        self._at += 4
        return int(match[0], 16)
