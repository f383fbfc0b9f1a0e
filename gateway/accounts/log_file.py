"""A file of lines that several processes append to, and that somebody else may rotate away."""

import os
import select
from collections.abc import Sequence
from pathlib import Path

STANDARD_OUTPUT = "-"
_STANDARD_OUTPUT_NUMBER = 1


class LogFile:
    """Appends whole lines, with as few writes as keep other processes' lines from getting between.

    A write to a file that is open for appending is whole; one to a pipe is up to PIPE_BUF bytes. Raises OSError when
    the file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        """`path` is a file's, or `-`."""
        self._path = None if path == STANDARD_OUTPUT else Path(path)
        self._number = _STANDARD_OUTPUT_NUMBER if self._path is None else _open(self._path)
        self._is_torn = self._path is not None and _is_torn(self._number)

    def append(self, lines: Sequence[bytes]) -> None:
        """Write lines, each with its end. Raises OSError; what was written of them then is ended before the next."""
        if self._path is not None and not self._is_there(self._path):
            number = _open(self._path)
            os.close(self._number)
            self._number = number
            self._is_torn = _is_torn(number)
        for piece in [b"".join(lines)] if self._path is not None else _pieces(lines):
            self._write(piece)

    def _write(self, piece: bytes) -> None:
        left = memoryview(b"\n" + piece if self._is_torn else piece)
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
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _is_torn(number: int) -> bool:
    """Whether a file's last line has no end: whoever wrote it was killed, or the disk was full."""
    size = os.fstat(number).st_size
    return size > 0 and os.pread(number, 1, size - 1) != b"\n"


def _pieces(lines: Sequence[bytes]) -> list[bytes]:
    """The lines in pieces that a pipe takes whole."""
    pieces: list[bytes] = []
    for line in lines:
        if pieces and len(pieces[-1]) + len(line) <= select.PIPE_BUF:
            pieces[-1] += line
        else:
            pieces.append(line)
    return pieces
