"""How to ask each child whether it is ready. Every probe is one short loopback request."""

import socket
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

from contracts.addresses import LOOPBACK

PROBE_TIMEOUT_S = 2.0


def answers_http(port: int, path: str) -> Callable[[], bool]:
    """Ready once GET answers 200."""
    return lambda: _status(port, path) == HTTPStatus.OK


def answers_http_at_all(port: int) -> Callable[[], bool]:
    """Alive while HTTP requests are answered, with whatever status: TorchServe wants a token even for its ping."""
    return lambda: _status(port, "/v1/models/twinserve-probe") is not None


def _status(port: int, path: str) -> int | None:
    """The status of a GET on loopback, None without an answer.

    By the standard library, whose client knows no proxies and costs a fraction of a millisecond: this is asked twice a
    second for as long as the platform runs.
    """
    connection = HTTPConnection(LOOPBACK, port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def accepts_tcp(port: int) -> Callable[[], bool]:
    """Ready once it accepts a connection: both model servers open their ports only when they can serve."""

    def probe() -> bool:
        try:
            with socket.create_connection((LOOPBACK, port), PROBE_TIMEOUT_S):
                return True
        except OSError:
            return False

    return probe


def is_free(port: int) -> bool:
    """Whether nothing listens on a loopback port."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
