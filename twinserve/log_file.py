"""A child's log: one file, appended to by the child itself, kept small by copying it away and emptying it.

The child holds the file open, so it cannot be renamed under it; opened for appending, it writes at the new end after
the file was emptied. A line written between copy and emptying may be lost.
"""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

LIMIT_BYTES = 10_000_000
KEPT = 3
_TAIL_BYTES = 16_384
_HEADING = "---- twinserve starts "


class LogFile:
    """One child's log and its predecessors `<name>.1` … `<name>.3`, newest first."""

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.path = path
        self._limit_bytes = limit_bytes

    def open(self, name: str) -> IO[bytes]:
        """Open for a child that is about to start, under a heading that separates it from earlier runs."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        log = self.path.open("ab")
        log.write(f"{_HEADING}{name} at {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} ----\n".encode())
        log.flush()
        return log

    def tail(self, lines: int) -> list[str]:
        """The last non-empty lines of the newest run; none when the file cannot be read."""
        try:
            with self.path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except OSError:
            return []
        _, heading, newest = text.rpartition(_HEADING)
        if heading:
            newest = newest.partition("\n")[2]
        return [line for line in newest.splitlines() if line.strip()][-lines:]

    def rotate(self) -> None:
        """Move the content away when it is over the limit; the oldest is forgotten."""
        try:
            if self.path.stat().st_size <= self._limit_bytes:
                return
        except FileNotFoundError:
            return
        for age in range(KEPT - 1, 0, -1):
            older = self._predecessor(age)
            if older.exists():
                older.replace(self._predecessor(age + 1))
        shutil.copyfile(self.path, self._predecessor(1))
        os.truncate(self.path, 0)

    def _predecessor(self, age: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{age}")
