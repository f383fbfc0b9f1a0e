"""How to ask each child whether it is ready. Every probe is one short loopback request."""

import socket
from collections.abc import Callable

import httpx2

from contracts.addresses import LOOPBACK

PROBE_TIMEOUT_S = 2.0


def answers_http(port: int, path: str) -> Callable[[], bool]:
    """Ready once GET answers 200."""

    def probe() -> bool:
        try:
            return httpx2.get(f"http://{LOOPBACK}:{port}{path}", timeout=PROBE_TIMEOUT_S).status_code == httpx2.codes.OK
        except httpx2.HTTPError:
            return False

    return probe


def answers_http_at_all(port: int) -> Callable[[], bool]:
    """Alive while HTTP requests are answered, with whatever status: TorchServe wants a token even for its ping."""

    def probe() -> bool:
        try:
            httpx2.get(f"http://{LOOPBACK}:{port}/v1/models/twinserve-probe", timeout=PROBE_TIMEOUT_S)
        except httpx2.HTTPError:
            return False
        return True

    return probe


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
