"""Files and directories that exist wholly or not at all, even after kill -9 or a power cut."""

import os
import secrets
from pathlib import Path


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace `path` by a file holding `data`; readers see the old content or the new, never a part.

    Raises OSError when the directory cannot be written to; `path` is then untouched.
    """
    staged = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    _fsync_directory(path.parent)


def publish_directory(staged: Path, target: Path) -> None:
    """Rename the finished directory `staged` to `target` once all of it is on disk.

    Both must be on one file system. Raises FileExistsError when `target` exists: what is published never changes.
    """
    for folder, _, names in os.walk(staged):
        for name in names:
            _fsync_file(Path(folder, name))
        _fsync_directory(Path(folder))
    # rename(2) would replace an empty directory, so a bare `mkdir` by somebody else must be looked for first.
    if target.exists():
        raise FileExistsError(f"{target} is already published")
    staged.rename(target)
    _fsync_directory(target.parent)


def _fsync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
