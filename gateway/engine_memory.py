"""How much memory the engines take, as told by whoever started them: a small JSON file, bytes by engine."""

import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)


class EngineMemory:
    """Reads the file when asked; without one nothing is known."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def read(self) -> Mapping[str, int]:
        """Resident bytes by engine; empty when nobody tells."""
        if self._path is None:
            return {}
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, int])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as error:
            log.warning("the engines' memory cannot be read: %s", error)
            return {}
