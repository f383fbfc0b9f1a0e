"""A program that a test starts and listens to; it ends with the test, whatever becomes of that."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.platform_process import wait_until

LAST_LINES = 20
_READ_TIMEOUT_S = 5


class WatchedProcess:
    """Threads read both streams, so that the process never waits for us, nor a test for a line that never comes."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self._said: list[str] = []
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=_read, args=(stream, lines), daemon=True)
            for stream, lines in ((process.stdout, self._said), (process.stderr, self._errors))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def errors(self) -> str:
        """The last lines that it wrote to standard error."""
        return "".join(self._errors[-LAST_LINES:])

    def wait_for_error_line(self, beginning: str, timeout_s: float) -> None:
        """Wait until a line of standard error begins so; fail at once when the process ends without it."""

        def is_there() -> bool:
            has_ended = self._has_ended()
            if any(line.startswith(beginning) for line in tuple(self._errors)):
                return True
            assert not has_ended, self._describe_end()
            return False

        wait_until(is_there, timeout_s, f"a line that begins with {beginning!r}")

    def check_running(self) -> None:
        """Fail when it has ended."""
        assert not self._has_ended(), self._describe_end()

    def wait(self, timeout_s: float) -> str:
        """Wait for its end; what it wrote to standard output. Raises subprocess.TimeoutExpired."""
        self.process.wait(timeout_s)
        self._has_ended()
        return "".join(self._said)

    def _has_ended(self) -> bool:
        """Once it is so, all lines have been read."""
        if self.process.poll() is None:
            return False
        for reader in self._readers:
            reader.join(_READ_TIMEOUT_S)
        return True

    def _describe_end(self) -> str:
        return f"it ended with {self.process.returncode}:\n{self.errors}"


def _read(stream: IO[str] | None, lines: list[str]) -> None:
    assert stream
    for line in stream:
        lines.append(line)  # noqa: PERF402 - each is looked at as it comes


@contextmanager
def watched(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    stop_timeout_s: float = 30.0,
) -> Iterator[WatchedProcess]:
    """Start it; at the end SIGTERM, and SIGKILL when that takes longer than `stop_timeout_s`."""
    process = subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    running = WatchedProcess(process)
    try:
        yield running
    finally:
        process.terminate()  # nothing to one that has ended
        try:
            running.wait(stop_timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            running.wait(stop_timeout_s)
        sys.stderr.write(running.errors)  # pytest shows it where a test has failed
