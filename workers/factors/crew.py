"""Processes that train together: started at once, and all ended as soon as one of them fails.

`python -m workers.factors.crew MODULE RANKS THREADS STEPS FOLDER` prints images a second.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

TIMEOUT_S = 240.0
_POLL_S = 0.05
_LOOPBACK = "127.0.0.1"


class CrewFailed(Exception):
    """A process failed, or they took too long; the message says which, and its last words."""


@dataclass(frozen=True)
class _Member:
    """One process. Its output goes to files: a pipe that nobody reads would stop it."""

    process: "subprocess.Popen[bytes]"
    output: IO[bytes]
    log: IO[bytes]

    @property
    def last_line(self) -> str:
        lines = [line for line in _text(self.log).splitlines() if line.strip()]
        return lines[-1] if lines else "no message"


def run_crew(module: str, ranks: int, threads: int, steps: int, folder: Path, timeout_s: float = TIMEOUT_S) -> float:
    """Images a second, as rank 0 prints them on its last line. Raises CrewFailed, OSError, ValueError."""
    folder.mkdir(exist_ok=True)
    addresses = ",".join(f"{_LOOPBACK}:{port}" for port in _free_ports(ranks))
    # Neither framework may use more than its threads, or listen anywhere but on loopback.
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "GLOO_SOCKET_IFNAME": "lo"}
    with contextlib.ExitStack() as stack:
        crew = []
        for rank in range(ranks):
            arguments = [str(rank), str(ranks), str(threads), str(steps), str(folder), addresses]
            output, log = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments], stdout=output, stderr=log, env=environment
            )
            stack.callback(_end, process)
            crew.append(_Member(process, output, log))
        _wait(crew, timeout_s)
        return float(_text(crew[0].output).splitlines()[-1])


def _wait(crew: Sequence[_Member], timeout_s: float) -> None:
    """Until all have ended well. The first that fails ends it: the others would only wait for that one."""
    deadline = time.monotonic() + timeout_s
    while True:
        codes = [member.process.poll() for member in crew]
        for rank, (code, member) in enumerate(zip(codes, crew, strict=True)):
            if code:
                raise CrewFailed(f"process {rank} of {len(crew)} ended with {code}: {member.last_line}")
        if None not in codes:
            return
        if time.monotonic() > deadline:
            raise CrewFailed(f"{len(crew)} processes did not end in {timeout_s:g} s: {crew[0].last_line}")
        time.sleep(_POLL_S)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((_LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    module, ranks, threads, steps, folder = arguments
    try:
        rate = run_crew(module, int(ranks), int(threads), int(steps), Path(folder))
    except (CrewFailed, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{rate}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
