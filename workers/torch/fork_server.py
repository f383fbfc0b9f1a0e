"""Start TorchServe's workers by fork from a process that has imported torch already.

A new worker otherwise spends one to three seconds of a processor on importing torch, and on a small machine every
request beside it waits longer for that time. Forked workers start within some 50 ms and share the imported pages.

The launcher starts this process beside TorchServe and gives TorchServe `fork_client.py` for a Python. The client sends
what it was started with (arguments, folder, environment and its three standard streams) and waits; the worker runs
here, forked. Both ends hold each other up: a worker whose client is killed is killed, a client whose worker ends ends
with the same status, and when TorchServe is gone the pipe on standard input ends and everything here with it.

This process must never run a tensor operation or touch a GPU: neither survives a fork.
Run by path, as `python -P fork_server.py LISTENING_FD MODULE…`; it imports nothing of ours.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import random
import runpy
import selectors
import signal
import socket
import sys
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_LARGEST_MESSAGE_BYTES = 4 << 20
_STREAMS = 3
_PATIENCE_S = 10.0
"""A client writes its message at once; one that does not is dropped instead of keeping the others waiting."""


@dataclass
class _Server:
    """Everything one process holds open: by worker's process id, the connection of the client that waits for it."""

    listener: socket.socket
    wakeup: socket.socket
    clients: dict[int, socket.socket] = field(default_factory=dict)


def serve(listener: socket.socket) -> None:
    """Fork a worker for every client, until standard input ends. Must run in the main thread."""
    wakeup, waker = socket.socketpair()
    waker.setblocking(False)
    wakeup.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    server = _Server(listener, wakeup)
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        selector.register(wakeup, selectors.EVENT_READ)
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == sys.stdin.fileno():
                    _kill_all(server)
                    return
                if key.fileobj is wakeup:
                    with contextlib.suppress(BlockingIOError):
                        wakeup.recv(4096)
                elif key.fileobj is listener:
                    _admit(server, selector)
                else:  # a client never speaks again: it has died
                    _kill_worker(key.data)
                    selector.unregister(key.fileobj)
            _reap(server, selector)


def _admit(server: _Server, selector: selectors.BaseSelector) -> None:
    try:
        connection, _ = server.listener.accept()
    except OSError as error:  # no descriptor left
        sys.stderr.write(f"a worker cannot be started: {error}\n")
        return
    try:
        connection.settimeout(_PATIENCE_S)
        order, streams = receive_order(connection)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"a worker's start was not understood: {error}\n")
        connection.close()
        return
    server_id = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:  # no memory or process left: this worker fails, and those that run go on
        sys.stderr.write(f"a worker cannot be started: {error}\n")
        for stream in streams:
            os.close(stream)
        connection.close()
        return
    if pid == 0:
        selector.close()
        _become_worker(server, connection, order, streams, server_id)
    for stream in streams:
        os.close(stream)
    server.clients[pid] = connection
    selector.register(connection, selectors.EVENT_READ, pid)


def receive_order(connection: socket.socket) -> tuple[dict[str, object], list[int]]:
    """What to run, and its standard streams. Raises OSError or ValueError when it is not whole."""
    data, streams, _, _ = socket.recv_fds(connection, 65536, _STREAMS)
    while b"\n" not in data:
        more = connection.recv(65536)
        if not more or len(data) > _LARGEST_MESSAGE_BYTES:
            break
        data += more
    if len(streams) != _STREAMS or not data.endswith(b"\n"):
        for stream in streams:
            os.close(stream)
        raise ValueError(f"{len(data)} bytes and {len(streams)} streams came")
    order: dict[str, object] = json.loads(data)
    return order, list(streams)


def _become_worker(
    server: _Server, connection: socket.socket, order: dict[str, object], streams: list[int], server_id: int
) -> NoReturn:
    """Leave the server behind and run what the client was asked to run, as a fresh interpreter would."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_NAME, b"ts-worker")
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server_id:
            os._exit(status)
        for inherited in (server.listener, server.wakeup, connection, *server.clients.values()):
            inherited.close()
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
            os.close(stream)
        status = _run(order)
    except BaseException:  # noqa: BLE001 (nothing of the server's may run on in the worker)
        traceback.print_exc()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _run(order: dict[str, object]) -> int:
    """Run the ordered script as __main__; returns its exit status."""
    arguments, folder, environment = order["arguments"], order["folder"], order["environment"]
    if not isinstance(arguments, list) or not isinstance(environment, dict):
        raise TypeError("an order without arguments or environment")
    os.chdir(str(folder))
    os.environ.clear()
    os.environ.update(environment)
    _reseed()
    script = str(arguments[0])
    sys.argv = [str(argument) for argument in arguments]
    extra = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:0] = [str(Path(script).resolve().parent), *extra]
    importlib.invalidate_caches()
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    return 0


def _reseed() -> None:
    """Two workers must not draw the same numbers; torch's generator starts from a constant in any process."""
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


def _reap(server: _Server, selector: selectors.BaseSelector) -> None:
    """Tell every client whose worker has ended how it ended."""
    while server.clients:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        connection = server.clients.pop(pid)
        with contextlib.suppress(KeyError, ValueError):
            selector.unregister(connection)
        with contextlib.suppress(OSError):
            connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
        connection.close()


def _kill_worker(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _kill_all(server: _Server) -> None:
    for pid in server.clients:
        _kill_worker(pid)


def main() -> None:
    """Import what workers need, then serve. A module that cannot be imported ends this process: clients do without."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    listener.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started TorchServe
    for name in sys.argv[2:]:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a worker would otherwise write to, and so copy, every shared page
    # numpy's OpenBLAS keeps a thread and tends it around forks; Python 3.12 and later warn of any thread.
    warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
    serve(listener)


if __name__ == "__main__":
    main()
