"""What whoever started the engines measures of them beside memory: a small JSON file (contracts.engine_usage)."""

import logging
from pathlib import Path

import msgspec

from contracts.engine_usage import EngineUsage

log = logging.getLogger(__name__)

_NOTHING = EngineUsage()


class EngineUsageFile:
    """Read when asked; without one nothing is known."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def read(self) -> EngineUsage:
        """Empty when nobody tells."""
        if self._path is None:
            return _NOTHING
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=EngineUsage)
        except FileNotFoundError:
            return _NOTHING
        except (OSError, msgspec.DecodeError) as error:
            log.warning("what the engines use cannot be read: %s", error)
            return _NOTHING
