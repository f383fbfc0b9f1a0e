"""Where a case is sent: an address, what goes with each request, and the dialect spoken there."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from loadtest.bench.children import LOOPBACK
from loadtest.bench.dialects import Dialect, Floats
from loadtest.bench.http_answers import encode_post


@dataclass(frozen=True)
class HttpEndpoint:
    """A path that takes POST requests, on loopback."""

    port: int
    path: str
    dialect: Dialect
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}{self.path}"

    def encode(self, images: Floats) -> bytes:
        """A whole HTTP request."""
        asked = self.dialect.encode(images)
        headers = {**asked.headers, **self.headers}
        return encode_post(self.path, f"{LOOPBACK}:{self.port}", headers, asked.body)


@dataclass(frozen=True)
class GrpcEndpoint:
    """A unary method, on loopback."""

    port: int
    method: str
    dialect: Dialect
    metadata: tuple[tuple[str, str], ...] = ()

    def encode(self, images: Floats) -> bytes:
        """A whole message."""
        return self.dialect.encode(images).body


Endpoint = HttpEndpoint | GrpcEndpoint
