"""Processes that the bench starts: each in a session of its own, so that Ctrl-C reaches the bench alone, and stopped by
process id together with whatever they started.
"""

import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

LOOPBACK = "127.0.0.1"
STOP_TIMEOUT_S = 30.0
_POLL_S = 0.05
_PORTS = range(20_000, 32_000)
"""Below the range that systems give to outgoing connections."""


class NotStarted(Exception):
    """Something did not start; the message says what, and where its log is."""


class Child:
    """A running process; its output goes to `log`, its standard input is a pipe that ends with the bench."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, text: str) -> None:
        """Write to its standard input. Raises OSError when it has ended."""
        if self.process.stdin is not None:
            self.process.stdin.write(text.encode())
            self.process.stdin.flush()

    def wait_until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Raises NotStarted when the process ends or the time is over before the condition holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self.process.poll() is not None:
                raise NotStarted(f"{self.name} ended with {self.process.returncode}, see {self.log}")
            if time.monotonic() > deadline:
                raise NotStarted(f"{self.name} was not ready in {timeout_s:g} s, see {self.log}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL to what is left of it and of its descendants. Safe to call again."""
        if self.process.returncode is not None:
            return
        family = descendants(self.pid)
        if self.process.stdin is not None:
            with suppress(OSError):
                self.process.stdin.close()
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        finally:
            _, alive = psutil.wait_procs(family, timeout=5)
            for survivor in alive:
                with suppress(psutil.NoSuchProcess):
                    survivor.kill()


def descendants(pid: int) -> list[psutil.Process]:
    """All processes below one, none when it is gone."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def free_ports(count: int) -> list[int]:
    """Different TCP ports of loopback that nothing listens on."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        if len(found) == count:
            return found
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOOPBACK, port))
            found.append(port)
    raise NotStarted(f"fewer than {count} free ports between {_PORTS.start} and {_PORTS.stop}")


def accepts(port: int) -> bool:
    """Whether something listens on a port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def module_command(module: str, *arguments: str) -> list[str]:
    """Run one of our modules with this Python."""
    return [sys.executable, "-m", module, *arguments]
