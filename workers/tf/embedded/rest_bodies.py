"""Request bodies as they arrive: in pieces, perhaps compressed."""

import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

MAX_INFLATED_BYTES = 100 * 1024 * 1024
"""The original's bound; what would grow larger counts as corrupt."""

MOST_MEMBERS = 10_000
"""Far more than tools that compress by blocks write for a body of that size; more count as corrupt."""

_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_FIRST_PIECE_BYTES = 256


class Disconnected(Exception):
    """The client went away before its request was complete; nobody waits for an answer."""


async def receive_body(receive: Receive) -> bytes:
    """The whole body, of any size. Raises Disconnected."""
    pieces: list[bytes] = []
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise Disconnected
        pieces.append(event.get("body", b""))
        if not event.get("more_body", False):
            return b"".join(pieces)


def inflate(body: bytes) -> bytes:
    """The content of a gzip body, which may have several members; empty when it is corrupt, cut off or too large."""
    content = bytearray()
    rest = memoryview(body)
    for _ in range(MOST_MEMBERS):
        if not rest:
            return bytes(content)
        try:
            taken = _inflate_member(rest, content)
        except zlib.error:
            return b""
        if not taken or len(content) > MAX_INFLATED_BYTES:
            return b""
        rest = rest[taken:]
    return b"" if rest else bytes(content)


def _inflate_member(rest: memoryview, content: bytearray) -> int:
    """Append what the member in front holds; gives its length, 0 when it has no end. Raises zlib.error.

    It is fed in pieces, each twice as large as the one before: zlib copies all that it was given beyond the end, which
    must not be the whole rest of the body for every small member.
    """
    stream = zlib.decompressobj(_GZIP_WINDOW)
    at, size = 0, _FIRST_PIECE_BYTES
    while not stream.eof:
        piece = rest[at : at + size]
        content += stream.decompress(piece, MAX_INFLATED_BYTES - len(content) + 1)
        if not piece or len(content) > MAX_INFLATED_BYTES:
            return 0
        at += len(piece)
        size *= 2
    return at - len(stream.unused_data)
