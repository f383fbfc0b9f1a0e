"""Several gateway processes behind one port: a parent that listens, and children that accept from its socket.

For gRPC, which takes no socket from anybody, each child listens itself (gateway.grpc_port). The parent serves nobody.
A child that dies is started again, after a pause when it dies young; children stop with the parent, even one killed
with -9: they hold the other end of a pipe to it.
"""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

from contracts.addresses import variable
from gateway.accounts.log_file import LogFile
from gateway.grpc_port import GrpcPort, held
from gateway.metrics import MULTIPROCESS_VARIABLE
from gateway.metrics_folder import close_ledger, metrics_folder
from gateway.peers import DirectoryPeers
from gateway.settings import Settings

log = logging.getLogger(__name__)

SOCKET_VARIABLE = "TWINSERVE_INHERITED_SOCKET"
LIFE_VARIABLE = "TWINSERVE_INHERITED_LIFE"
BACKLOG = 2048
_YOUNG_S = 10.0
_PAUSE_S = 1.0
_STOP_TIMEOUT_S = 40.0
_WATCH_INTERVAL_S = 0.2


@dataclass
class _Child:
    process: subprocess.Popen[bytes]
    started_at: float


def run_processes(settings: Settings) -> int:
    """Serve with `settings.gateway_processes` processes until SIGTERM or SIGINT; returns the exit code.

    A second signal ends the notice that the children give before they stop.

    Raises OSError when a port cannot be listened on.
    """
    stop_asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop_asked.set())
    grpc_port = GrpcPort(settings.host, settings.grpc_port)
    with _listening(settings) as listener, held(grpc_port) as port, metrics_folder() as folder, _life() as life:
        environment = {
            **os.environ,
            SOCKET_VARIABLE: str(listener.fileno()),
            LIFE_VARIABLE: str(life),
            MULTIPROCESS_VARIABLE: str(folder),
            "TWINSERVE_GATEWAY_PROCESSES": "1",
            variable("grpc"): str(port),
        }
        inherited = (listener.fileno(), life)
        _check_writable(settings)
        children = [_start(environment, inherited) for _ in range(settings.gateway_processes)]
        while not stop_asked.wait(_WATCH_INTERVAL_S):
            for child in children:
                code = child.process.poll()
                if code is None:
                    continue
                lost = close_ledger(folder, child.process.pid)
                log.error(
                    "gateway process %d ended with %d, and %d requests with it; it is started again",
                    child.process.pid, code, lost,
                )  # fmt: skip
                if monotonic() - child.started_at < _YOUNG_S:
                    stop_asked.wait(_PAUSE_S)
                started = _start(environment, inherited)
                child.process, child.started_at = started.process, started.started_at
        listener.close()  # once the children have closed theirs, who comes is refused, not kept waiting
        _stop(children, stop_asked, settings.stop_notice_s + _STOP_TIMEOUT_S)
    return 0


def _check_writable(settings: Settings) -> None:
    """What would end every child is said once, by the parent. Raises OSError."""
    DirectoryPeers(settings.repository).close()
    if settings.access_log:
        LogFile(settings.access_log).close()


def _start(environment: dict[str, str], inherited: tuple[int, ...]) -> _Child:
    command = [sys.executable, "-m", "gateway"]
    return _Child(subprocess.Popen(command, env=environment, pass_fds=inherited), monotonic())


def _stop(children: list[_Child], asked: threading.Event, timeout_s: float) -> None:
    """Ask them to stop, and again when `asked` is set anew; kill those that are still there after `timeout_s`."""
    deadline = monotonic() + timeout_s
    asked.set()
    while any(child.process.poll() is None for child in children) and monotonic() < deadline:
        if asked.wait(_WATCH_INTERVAL_S):
            asked.clear()
            for child in children:
                child.process.terminate()
    for child in children:
        child.process.kill()
        child.process.wait()


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.http_port))
        listener.listen(BACKLOG)
        yield listener


@contextlib.contextmanager
def _life() -> Iterator[int]:
    """The read end of a pipe that only the parent can write to: it ends when the parent does."""
    read_end, write_end = os.pipe()
    try:
        yield read_end
    finally:
        os.close(write_end)
        os.close(read_end)
