"""A folder for each host on a volume that several containers share.

Every TorchServe writes files of the same names. The holder of a folder's lock is alive: the kernel frees the lock
however a process ends, so folders of containers that are gone are known, and removed by the next one that starts.
"""

import fcntl
import os
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import IO

LIFE = "life.lock"
_REMOVAL_S = 2.0
_POLL_S = 0.02


def host_folder(shared: Path) -> tuple[Path, IO[str]]:
    """A folder in `shared` that is this host's alone, named for it, and the file that holds it while it is open.

    Removes folders that nobody holds any more. Raises OSError, also when another process of this host has the folder.
    """
    shared.mkdir(parents=True, exist_ok=True)
    folder = shared / socket.gethostname()
    held = _hold(folder)
    for life in shared.glob(f"*/{LIFE}"):
        if life.parent != folder:
            _remove_if_left(life)
    return folder, held


def _hold(folder: Path) -> IO[str]:
    deadline = time.monotonic() + _REMOVAL_S
    while time.monotonic() < deadline:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            held = (folder / LIFE).open("w")
        except FileNotFoundError:
            continue  # another host, which starts as we do, is just removing it
        if _could_lock(held) and _is_there(held):
            return held
        held.close()
        time.sleep(_POLL_S)
    raise OSError(f"another TorchServe of this host writes into {folder}")


def _remove_if_left(life: Path) -> None:
    try:
        with life.open("r+") as held:
            if _could_lock(held) and _is_there(held):  # else its host may be back, with a new one
                shutil.rmtree(life.parent)
    except OSError as error:
        sys.stderr.write(f"{life.parent} is not removed: {error}\n")


def _is_there(file: IO[str]) -> bool:
    """Whether nobody has removed it since it was opened."""
    return os.fstat(file.fileno()).st_nlink > 0


def _could_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
