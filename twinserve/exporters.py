"""The exporters: one process an engine, since the frameworks do not share one.

They run at once, their progress is heard while they do, and none is left over however it ends.
"""

import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from contracts.exports import PROGRESS

EXPORTERS: Mapping[str, str] = {"torchserve": "workers.torch.export", "tfserving": "workers.tf.export"}
"""The module that exports for each engine."""

TEST_SET = "workers.test_set"
"""The module that reads a folder of MNIST's files."""

TIMEOUT_S = 600.0
_STOP_TIMEOUT_S = 5.0
_TAIL_LINES = 15


class ExportError(Exception):
    """A process failed or took too long; the message holds the end of what it said."""


class _Running:
    """One process, and a thread that passes on its lines: (name, line), and (name, None) after the last."""

    def __init__(self, name: str, command: Sequence[str], lock: int, heard: "queue.Queue[tuple[str, str | None]]"):
        self.name = name
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=(lock,),
        )
        self._reader = threading.Thread(target=self._pass_on, args=(heard,), daemon=True)
        self._reader.start()

    def _pass_on(self, heard: "queue.Queue[tuple[str, str | None]]") -> None:
        for line in self.process.stdout or ():
            heard.put((self.name, line.rstrip("\n")))
        heard.put((self.name, None))

    def stop(self) -> None:
        """Leave no process behind."""
        self.process.kill()
        self.process.wait()
        self._reader.join(_STOP_TIMEOUT_S)


def run_all(
    commands: Mapping[str, Sequence[str]], lock: int, timeout_s: float, hear: Callable[[str, str], None]
) -> None:
    """Run one process a command, each a module and its arguments, until all have ended; the first failure ends all.

    Each holds the descriptor `lock` open. `hear` is told name and line of what is meant for the user. Raises
    ExportError, OSError, and what `hear` raises; no process runs any more in any case.
    """
    deadline = time.monotonic() + timeout_s
    heard: queue.Queue[tuple[str, str | None]] = queue.Queue()
    running: dict[str, _Running] = {}
    try:
        for name, command in commands.items():
            running[name] = _Running(name, command, lock, heard)
        left = set(running)
        while left:
            try:
                name, line = heard.get(timeout=max(0.0, deadline - time.monotonic()))
                if line is None:
                    _end(running[name], deadline)
                    left.remove(name)
                elif line.startswith(PROGRESS):
                    hear(name, line.removeprefix(PROGRESS))
                else:
                    running[name].tail.append(line)
            except (queue.Empty, subprocess.TimeoutExpired) as error:
                late = " and ".join(_what(name) for name in sorted(left))
                raise ExportError(f"{late} did not finish within {timeout_s:g} s") from error
    finally:
        for exporter in running.values():
            with suppress(ProcessLookupError):
                exporter.stop()


def _end(exporter: _Running, deadline: float) -> None:
    code = exporter.process.wait(max(0.0, deadline - time.monotonic()))
    if code != 0:
        said = "\n".join(exporter.tail)
        raise ExportError(f"{_what(exporter.name)} ended with {code}:\n{said}")


def _what(name: str) -> str:
    return f"the export for {name}" if name in EXPORTERS else name
