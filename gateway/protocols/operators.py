"""Who operators are: whoever brings the bearer token (RFC 6750)."""

import hmac

from starlette.requests import Request

from gateway.core.errors import Unauthenticated


class Operators:
    """Knows operators by their bearer token. Without a token nobody is one."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def check(self, request: Request) -> None:
        """Raises Unauthenticated."""
        self.check_header(request.headers.get("authorization", ""))

    def check_header(self, authorization: str) -> None:
        """Hold an Authorization header, or gRPC metadata of that name, against the token. Raises Unauthenticated."""
        scheme, _, given = authorization.partition(" ")
        is_right = self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())
        if scheme.lower() != "bearer" or not is_right:
            raise Unauthenticated("expected the operators' token as 'Authorization: Bearer …'")
