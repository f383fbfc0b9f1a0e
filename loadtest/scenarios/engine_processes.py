"""Engine processes of a `twinserve up` on this machine: found by its state file, and killed only when they are ours."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import psutil

STATE_FILE = "up.json"
_SAME_START_S = 5.0  # the supervisor notes the time right after the start
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class CannotKill(Exception):
    """There is no such process, or it is not ours to kill; the message says why."""


class _Child(msgspec.Struct, frozen=True):
    name: str
    state: str
    pid: int
    started_at: float
    container: str | None = None


class _UpState(msgspec.Struct, frozen=True):
    pid: int
    url: str
    children: tuple[_Child, ...]


@dataclass(frozen=True)
class EngineProcess:
    """One run of one engine. `is_ready` is what the supervisor says."""

    engine: str
    pid: int
    is_ready: bool


def find_engine(home: Path, url: str, engine: str) -> EngineProcess:
    """The engine's process of the platform that runs from this directory and answers at this URL. Raises CannotKill."""
    state = _read(home / STATE_FILE)
    if _place(state.url) != _place(url):
        raise CannotKill(
            f"the platform in {home} answers at {state.url}, not at {url}: its engines are not those asked"
        )
    child = next((child for child in state.children if child.name == engine), None)
    if child is None:
        raise CannotKill(f"the platform in {home} runs no {engine}")
    if child.container is not None:
        raise CannotKill(f"{engine} runs in the container {child.container}: engine-kill kills processes only")
    if child.state == "ready":
        _check_ours(child)
    return EngineProcess(engine, child.pid, child.state == "ready")


def kill_engine(process: EngineProcess) -> None:
    """kill -9, as the kernel does it when memory runs out. Raises CannotKill."""
    if not process.is_ready:
        raise CannotKill(f"{process.engine} is not ready: there is nothing to find out")
    try:
        os.kill(process.pid, signal.SIGKILL)
    except OSError as error:
        raise CannotKill(f"{process.engine}, pid {process.pid}: {error}") from error


def _read(path: Path) -> _UpState:
    try:
        state = msgspec.json.decode(path.read_bytes(), type=_UpState)
        os.kill(state.pid, 0)
    except (OSError, msgspec.DecodeError) as error:
        raise CannotKill(
            f"no platform of yours runs from {path.parent} ({error}): run this where `twinserve up` runs, "
            "with its TWINSERVE_HOME"
        ) from error
    return state


def _check_ours(child: _Child) -> None:
    """A number in a file may have come to name another process since."""
    try:
        process = psutil.Process(child.pid)
        is_same = abs(process.create_time() - child.started_at) < _SAME_START_S
        is_ours = process.uids().real == os.getuid()
    except psutil.Error as error:
        raise CannotKill(f"{child.name}, pid {child.pid}: {error}") from error
    if not is_same or not is_ours:
        raise CannotKill(f"pid {child.pid} is no longer {child.name}'s" if is_ours else f"{child.name} is not yours")


def _place(url: str) -> tuple[str, int | None]:
    parts = urlsplit(url)
    return "here" if parts.hostname in _LOOPBACK else str(parts.hostname), parts.port
