"""Where results are written: looked at before a run, since what cannot be written after it is lost."""

import tempfile
from pathlib import Path


def check_writable(folder: Path) -> None:
    """Whether files can be made in a folder that may not exist yet; nothing is left. Raises OSError."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    with tempfile.TemporaryFile(dir=nearest):
        pass
