"""A real platform as its user starts it: `twinserve up` in a subprocess, on free ports and in folders of its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import psutil

from contracts.addresses import Ports
from tests.ports import free_port
from tests.served_platform import ServedPlatform

START_TIMEOUT_S = 240
STOP_TIMEOUT_S = 60
ORPHANS_TIMEOUT_S = 30


@dataclass(frozen=True)
class Platform(ServedPlatform):
    """A running `twinserve up`."""

    process: subprocess.Popen[str]
    environment: Mapping[str, str]
    ports: Ports
    home: Path
    repository: Path
    lines: list[str]
    started_in_s: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.http}"

    @property
    def grpc_address(self) -> str:
        """See ServedPlatform."""
        return f"127.0.0.1:{self.ports.grpc}"

    @property
    def token(self) -> str:
        """See ServedPlatform."""
        return (self.home / "admin-token").read_text().strip()

    def child(self, name: str) -> dict[str, Any]:
        """What `up` says of `torchserve`, `tfserving` or `gateway` now."""
        state = json.loads((self.home / "up.json").read_text())
        return next(entry for entry in state["children"] if entry["name"] == name)

    def pid(self, child: str) -> int:
        """The process id of `torchserve`, `tfserving` or `gateway`."""
        return int(self.child(child)["pid"])

    def kill(self, engine: str) -> None:
        """See ServedPlatform."""
        os.kill(self.pid(engine), signal.SIGKILL)

    def kill_up(self) -> list[psutil.Process]:
        """Kill `up` itself with SIGKILL; see `kill_with_family`."""
        return kill_with_family(self.process)

    def restarts(self, engine: str) -> int:
        """See ServedPlatform."""
        return int(self.child(engine)["restarts"])

    def publish(self, model: str, files: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """See ServedPlatform."""
        return self.run("publish", model, *arguments)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """See ServedPlatform."""
        command = [sys.executable, "-m", "twinserve", *arguments]
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def free_ports() -> Ports:
    """Ports that nothing listens on, and that no other test process is given."""
    return Ports(**{field.name: free_port() for field in fields(Ports)})


@contextmanager
def running_platform(
    folder: Path,
    repository: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Platform]:
    """Start a platform, wait until it says it is ready, stop it with SIGTERM and check that nothing is left.

    A test may have ended it before, with `kill_up`, which checks that itself.
    """
    ports = free_ports()
    home = folder / "home"
    repository = repository or folder / "repository"
    own = {**ports.to_environment(), "TWINSERVE_HOME": str(home), "TWINSERVE_REPOSITORY": str(repository)}
    own |= environment or {}
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "twinserve", "up"],
        env={**os.environ, **own},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    ready = threading.Event()
    reader = threading.Thread(target=_read, args=(process, lines, ready), daemon=True)
    reader.start()
    try:
        ready.wait(START_TIMEOUT_S)
        assert any("Ctrl-C stops" in line for line in lines), "not ready:\n" + "\n".join(lines)
        yield Platform(process, own, ports, home, repository, lines, time.monotonic() - started)
    finally:
        family = _family(process.pid)
        process.send_signal(signal.SIGTERM)  # none to one that has ended
        try:
            process.wait(STOP_TIMEOUT_S)
        finally:
            process.kill()
            left = [survivor for survivor in family if is_alive(survivor)]
            for survivor in left:
                survivor.kill()
        reader.join(5)
        assert left == [], f"processes outlived the platform: {left}\n" + "\n".join(lines)


def _read(process: "subprocess.Popen[str]", lines: list[str], ready: threading.Event) -> None:
    assert process.stdout
    for line in process.stdout:
        lines.append(line.rstrip())
        if "Ctrl-C stops" in line:
            ready.set()
    ready.set()  # it ended: whoever waits looks at the lines


def kill_with_family(process: "subprocess.Popen[str]", timeout_s: float = ORPHANS_TIMEOUT_S) -> list[psutil.Process]:
    """Kill a process with SIGKILL, and fail unless all that it had started ends within this time; returns those.

    They are looked up before: afterwards nobody can tell whose they were. Whoever outlives it is killed.
    """
    family = _family(process.pid)
    process.kill()
    process.wait()
    try:
        wait_until(lambda: not any(map(is_alive, family)), timeout_s, f"all of {family} ended with {process.pid}")
    finally:
        for survivor in filter(is_alive, family):
            survivor.kill()
    return family


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs: neither gone, nor dead and waiting to be collected."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Poll a condition; fail naming `what` did not come true in time."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        pause.wait(0.05)


async def wait_until_async(condition: Callable[[], Awaitable[bool]], timeout_s: float, what: str) -> None:
    """The same for a condition that must be awaited."""
    deadline = time.monotonic() + timeout_s
    never = asyncio.Event()
    while not await condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        with suppress(TimeoutError):
            await asyncio.wait_for(never.wait(), 0.1)
