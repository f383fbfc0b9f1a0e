"""Request bodies as they arrive: in pieces, perhaps compressed."""

import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

MAX_INFLATED_BYTES = 100 * 1024 * 1024
"""The original's bound; what would grow larger counts as corrupt."""

_GZIP_WINDOW = 16 + zlib.MAX_WBITS


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
    while body:
        stream = zlib.decompressobj(_GZIP_WINDOW)
        try:
            content += stream.decompress(body, MAX_INFLATED_BYTES - len(content) + 1)
        except zlib.error:
            return b""
        if not stream.eof or len(content) > MAX_INFLATED_BYTES:
            return b""
        body = stream.unused_data
    return bytes(content)
