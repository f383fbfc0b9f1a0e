"""Children die with their supervisor, even when it is killed with -9: `python -m twinserve.lifeline`.

A tiny process holds the other end of a pipe. The supervisor tells it which process groups are its children's
("+PID", "-PID"); when the pipe ends without the word "done", whoever is left is killed. Workers that a server started
belong to its group and go with it.
"""

import os
import signal
import subprocess
import sys
from types import TracebackType
from typing import IO, Self

READY = b"ready\n"
DONE = b"done\n"


class Lifeline:
    """The supervisor's side. Leaving the `with` block ends the process without killing anybody."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._process = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._groups:  # else something went wrong on the way out, and they are to be killed
            self._tell(DONE)
        self._process.communicate()

    @property
    def pid(self) -> int:
        return self._process.pid

    def hold(self, group: int) -> None:
        """Kill this process group if this process dies."""
        self._groups.add(group)
        self._tell(b"+%d\n" % group)

    def release(self, group: int) -> None:
        """The group has ended; its number may soon be somebody else's."""
        self._groups.discard(group)
        self._tell(b"-%d\n" % group)

    def mend(self) -> None:
        """Start it again if somebody killed it."""
        if self._process.poll() is not None:
            self._process = self._start()
            for group in self._groups:
                self._tell(b"+%d\n" % group)

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


def watch(orders: IO[bytes]) -> set[int]:
    """Follow the supervisor's orders until it ends; returns the groups to kill, none after a proper goodbye."""
    groups: set[int] = set()
    for line in orders:
        if line == DONE:
            return set()
        group = int(line[1:])
        if line.startswith(b"+"):
            groups.add(group)
        else:
            groups.discard(group)
    return groups


def main() -> int:
    """Run the watching process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    for group in watch(sys.stdin.buffer):
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it went by itself
    return 0


if __name__ == "__main__":
    sys.exit(main())
