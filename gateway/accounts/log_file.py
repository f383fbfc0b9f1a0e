"""A file of lines that several processes append to, and that somebody else may rotate away."""

import os
from pathlib import Path

STANDARD_OUTPUT = "-"
_STANDARD_OUTPUT_NUMBER = 1


class LogFile:
    """Appends whole lines, each call's with one write, so that other processes' lines do not get between.

    Raises OSError when the file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        """`path` is a file's, or `-`."""
        self._path = None if path == STANDARD_OUTPUT else Path(path)
        self._number = _STANDARD_OUTPUT_NUMBER if self._path is None else _open(self._path)
        self._is_torn = False

    def append(self, lines: bytes) -> None:
        """Write lines, each with its end. Raises OSError; what was written of them then is ended before the next."""
        if self._path is not None and not self._is_there(self._path):
            number = _open(self._path)
            os.close(self._number)
            self._number = number
            self._is_torn = False
        left = memoryview(b"\n" + lines if self._is_torn else lines)
        while left:
            written = os.write(self._number, left)
            left = left[written:]
            self._is_torn = bool(left)

    def close(self) -> None:
        """Close the file; standard output is not ours to close."""
        if self._path is not None:
            os.close(self._number)

    def _is_there(self, path: Path) -> bool:
        """Whether the path still names the file that is open."""
        try:
            return os.path.samestat(path.stat(), os.fstat(self._number))
        except FileNotFoundError:
            return False


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
