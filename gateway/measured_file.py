"""What whoever started the engines measures of them (memory, and what else they use), as told by a small JSON file."""

import logging
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

log = logging.getLogger(__name__)

Measured = TypeVar("Measured")


class MeasuredFile(Generic[Measured]):
    """Read when asked; nothing is known without a path, or while nobody has written there."""

    def __init__(self, path: Path | None, kind: type[Measured]) -> None:
        """`kind()` is what is told where nothing is known."""
        self._path = path
        self._kind = kind

    def read(self) -> Measured:
        """What was last written; nothing, and a line in the log, where it cannot be read."""
        if self._path is None:
            return self._kind()
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=self._kind)
        except FileNotFoundError:
            return self._kind()
        except (OSError, msgspec.DecodeError) as error:
            log.warning("%s, which tells what the engines use, cannot be read: %s", self._path, error)
            return self._kind()
