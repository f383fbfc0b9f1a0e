"""A stand-in for the Docker daemon itself, on loopback: making a container never ends there, removing one does.

Enough for the real SDK to connect, look a container up, begin to make it and remove it.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class StuckDaemon(ThreadingHTTPServer):
    """`made`: the names of the containers that exist."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.made: list[str] = []
        self.is_over = threading.Event()

    @property
    def url(self) -> str:
        """What DOCKER_HOST is to be."""
        return f"tcp://127.0.0.1:{self.server_port}"


@contextmanager
def stuck_daemon() -> Iterator[StuckDaemon]:
    """Answer until the block is left."""
    with StuckDaemon() as daemon:
        thread = threading.Thread(target=daemon.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield daemon
        finally:
            daemon.is_over.set()
            daemon.shutdown()
            thread.join()


class _Answer(BaseHTTPRequestHandler):
    server: StuckDaemon

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        name = path.split("/")[-2]
        if path.endswith("/version"):
            self._answer(200, {"ApiVersion": "1.45", "Version": "27"})
        elif path.endswith("/_ping"):
            self._answer(200, "OK")
        elif name in self.server.made:
            self._answer(200, {"Id": name, "Name": f"/{name}", "State": {"Pid": 1}})
        else:
            self._answer(404, {"message": f"No such container: {name}"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.made += parse_qs(urlsplit(self.path).query)["name"]
        self.server.is_over.wait(60)
        self._answer(500, {"message": "too late"})

    def do_DELETE(self) -> None:
        self.server.made.remove(urlsplit(self.path).path.split("/")[-1])
        self._answer(204, None)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nobody reads it."""

    def _answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode() if document is not None else b""
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            return  # whoever asked was killed
