"""Where gRPC listens, and how several processes come to share that.

One process has its port to itself. Several share one by SO_REUSEPORT: each listens, and the kernel gives every new
connection to one of them. What a killed process had accepted is reset, and its clients connect anew to the others.
Their parent holds the port meanwhile, without listening, so that nobody else gets it.
"""

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GrpcPort:
    """An address and a port, 0 for any that is free. `is_shared` among processes of one parent."""

    host: str
    number: int
    is_shared: bool = False

    @property
    def target(self) -> str:
        """As gRPC writes addresses."""
        return f"[{self.host}]:{self.number}" if ":" in self.host else f"{self.host}:{self.number}"

    def refusal(self, problem: str) -> OSError:
        """The error that says why nobody can listen here."""
        return OSError(f"gRPC cannot listen on {self.target} (TWINSERVE_GRPC_PORT): {problem}")


def check_free(port: GrpcPort) -> None:
    """Raises OSError when somebody listens there already."""
    try:
        _bind(port, is_shared=False).close()
    except OSError as error:
        raise port.refusal(error.strerror or str(error)) from error


@contextlib.contextmanager
def held(port: GrpcPort) -> Iterator[int]:
    """Hold a port while others share it; gives its number. Raises OSError when somebody listens there already."""
    check_free(port)
    with _bind(port, is_shared=True) as holder:
        yield int(holder.getsockname()[1])


def _bind(port: GrpcPort, is_shared: bool) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in port.host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(is_shared))
        bound.bind((port.host, port.number))
    except OSError:
        bound.close()
        raise
    return bound
