"""What `twinserve up` tells other processes about itself: one small file, replaced whole at every change."""

import os
from pathlib import Path

import msgspec

from contracts.atomic import write_atomic
from contracts.manifest import BadDocument, encode_document, read_document


class ProcessState(msgspec.Struct, frozen=True):
    """One child. `started_at` is Unix time, of the run with this pid; `restarts` counts runs after the first.

    `container` is the name of the container it runs in, if it runs in one.
    """

    name: str
    state: str
    pid: int
    started_at: float
    restarts: int
    last_cause: str | None
    log: str
    container: str | None = None


class UpState(msgspec.Struct, frozen=True):
    """A running `twinserve up`."""

    pid: int
    url: str
    tfserving_implementation: str
    children: list[ProcessState]


def write_state(path: Path, state: UpState) -> None:
    """Raises OSError."""
    write_atomic(path, encode_document(state))


def read_state(path: Path) -> UpState | None:
    """The platform that runs from this run directory, or None: no file, or its writer is dead."""
    try:
        state = read_document(path, UpState)
        os.kill(state.pid, 0)
    except (OSError, BadDocument):
        return None
    return state
