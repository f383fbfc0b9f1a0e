"""Compressed bodies (RFC 9110 section 8.4): gzip and deflate, both ways, never larger than they may be."""

import zlib

from gateway.core.errors import InvalidRequest, TooLarge, UnknownCoding

COMPRESSED_FROM_BYTES = 4096
"""Smaller answers go as they are: compressing them costs more than it saves."""

_GZIP = 16 + zlib.MAX_WBITS
_LEVEL = 1  # the point is the network; time is spent on the one event loop's core
_WINDOWS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}
_OFFERED = ("gzip", "deflate")
_MOST_MEMBERS = 16  # of a gzip body; each costs a copy of all that follow


def is_coded(coding: str | None) -> bool:
    """Whether a Content-Encoding header says that the body must be decoded."""
    return coding is not None and coding.strip().lower() not in ("", "identity")


def decode_content(body: bytes, coding: str, limit_bytes: int) -> bytes:
    """The content of a body with this Content-Encoding; "deflate" with zlib's frame or, as some send it, without.

    Raises UnknownCoding, InvalidRequest when it is not what the header says, TooLarge as soon as it is over the limit.
    """
    name = coding.strip().lower()
    window = _WINDOWS.get(name)
    if window is None:
        raise UnknownCoding(f"expected Content-Encoding {' or '.join(_OFFERED)}, got {coding[:40]!r}")
    if name == "deflate" and not _has_zlib_frame(body):
        window = -zlib.MAX_WBITS
    content = bytearray()
    rest = body
    try:
        for _ in range(_MOST_MEMBERS):
            stream = zlib.decompressobj(window)
            content += stream.decompress(rest, limit_bytes - len(content) + 1)
            if len(content) > limit_bytes:
                raise TooLarge(f"expected a body of at most {limit_bytes} bytes when decompressed, got more")
            if not stream.eof:
                raise InvalidRequest(f"the body is cut off: its {name} stream has no end")
            rest = stream.unused_data
            if not rest:
                return bytes(content)
    except zlib.error as error:
        raise InvalidRequest(f"the body is not {name}, as Content-Encoding says: {error}") from error
    raise InvalidRequest(f"expected at most {_MOST_MEMBERS} {name} streams in a body, got more")


def choose_coding(accepted: str) -> str | None:
    """The coding for an answer by the client's Accept-Encoding (RFC 9110 section 12.5.3), None for none."""
    wishes: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, parameter = part.partition(";")
        wishes[name.strip()] = _weight(parameter)
    best = max(_OFFERED, key=lambda name: wishes.get(name, wishes.get("*", 0.0)))
    return best if wishes.get(best, wishes.get("*", 0.0)) > 0 else None


def encode_content(content: bytes, coding: str) -> bytes:
    """Compress an answer as `choose_coding` said."""
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOWS[coding])
    return stream.compress(content) + stream.flush()


def _has_zlib_frame(body: bytes) -> bool:
    """RFC 1950 section 2.2: the method, and a check on the first two bytes."""
    return len(body) >= 2 and body[0] & 0x0F == zlib.DEFLATED and (body[0] << 8 | body[1]) % 31 == 0


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
