"""Children die with their supervisor, even when it is killed with -9: `python -m twinserve.lifeline`.

A tiny process holds the other end of a pipe. The supervisor tells it which process groups and which containers are its
children's ("+1234", "-1234", "+name"); when the pipe ends without the word "done", whoever is left is killed. Workers
that a server started belong to its group, or are in its container, and go with it.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from types import TracebackType
from typing import IO, Self

from twinserve.docker_daemon import Daemon, DockerFailed

READY = b"ready\n"
DONE = b"done\n"


class Lifeline:
    """The supervisor's side. Leaving the `with` block ends the process without killing anybody."""

    def __init__(self) -> None:
        self._held: set[int | str] = set()
        self._process = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._held:  # else something went wrong on the way out, and they are to be killed
            self._tell(DONE)
        self._process.communicate()

    @property
    def pid(self) -> int:
        return self._process.pid

    def hold(self, child: int | str) -> None:
        """Kill this if this process dies: a process group by its number, a container by its name."""
        self._held.add(child)
        self._tell(f"+{child}\n".encode())

    def release(self, child: int | str) -> None:
        """It has ended; its number may soon be somebody else's."""
        self._held.discard(child)
        self._tell(f"-{child}\n".encode())

    def mend(self) -> None:
        """Start it again if somebody killed it."""
        if self._process.poll() is not None:
            self._process = self._start()
            for child in self._held:
                self._tell(f"+{child}\n".encode())

    def _start(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-m", "twinserve.lifeline"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal is not meant for it
        )
        if process.stdout is None or process.stdout.readline() != READY:
            raise OSError("the lifeline process did not start")
        return process

    def _tell(self, line: bytes) -> None:
        orders = self._process.stdin
        if orders is None:
            return
        try:
            orders.write(line)
            orders.flush()
        except BrokenPipeError:
            return  # killed; `mend` starts it again and repeats what it must know


def watch(orders: IO[bytes]) -> set[str]:
    """Follow the supervisor's orders until it ends; returns whom to kill, nobody after a proper goodbye."""
    held: set[str] = set()
    for line in orders:
        if line == DONE:
            return set()
        child = line[1:].decode().rstrip()
        if line.startswith(b"+"):
            held.add(child)
        else:
            held.discard(child)
    return held


def kill(held: set[str]) -> None:
    """Kill process groups first, which takes no time, then containers. What is gone already is as good."""
    groups = {child for child in held if child.isdecimal()}
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(int(group), signal.SIGKILL)
    if containers := held - groups:
        with suppress(DockerFailed):  # the next `up` removes what is left
            daemon = Daemon.connect()
            for name in containers:
                with suppress(DockerFailed):
                    daemon.remove(name)


def main() -> int:
    """Run the watching process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    kill(watch(sys.stdin.buffer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
