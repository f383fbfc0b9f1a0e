"""Ports of test processes that run at once."""

import socket
import subprocess
import sys
from pathlib import Path

from tests.ports import BLOCK_PORTS, free_port

ROOT = Path(__file__).resolve().parents[2]
ASK = "import sys; from tests.ports import free_port; print(*(free_port() for _ in range(100)), flush=True); input()"


def test_processes_that_run_at_once_never_get_the_same() -> None:
    command = [sys.executable, "-c", ASK]
    others = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    given = [free_port() for _ in range(100)]
    for other in others:
        assert other.stdout
        given += map(int, other.stdout.readline().split())
    for other in others:
        other.communicate("\n", timeout=30)
    assert len(given) == len(set(given)) == 400


def test_what_is_in_use_is_left_out() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        taken = server.getsockname()[1]
        assert taken not in {free_port() for _ in range(BLOCK_PORTS)}
