"""Orders: small JSON bodies by which operators say what they want."""

from typing import TypeVar

import msgspec
from starlette.requests import Request

from gateway.core.errors import InvalidRequest
from gateway.protocols.exchange import read_body

_BODY_LIMIT_BYTES = 64 * 1024

T = TypeVar("T", bound=msgspec.Struct)


async def read_order(request: Request, kind: type[T]) -> T:
    """The order in a body; an empty one is an order without any wish. Raises InvalidRequest, TooLarge."""
    body = await read_body(request, _BODY_LIMIT_BYTES)
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidRequest(f"the body is not what is expected here: {error}") from error
