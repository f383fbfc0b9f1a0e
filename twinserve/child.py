"""Children: what the supervisor may ask of every kind of them, and the ordinary kind, a process on this machine.

A process leads a process group of its own and logs to a file. The other kind is in twinserve/container.py.
"""

import os
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from twinserve.log_file import LogFile

TAIL_LINES = 12
PROBE_INTERVAL_S = 0.5

Probe = Callable[[], bool]


class Plan(Protocol):
    """What to run. Both probes ask the child itself, quickly, and never raise."""

    @property
    def name(self) -> str: ...

    @property
    def log(self) -> LogFile: ...

    @property
    def container(self) -> str | None:
        """The name of the container that it is to run in, if it is to run in one."""

    @property
    def is_alive(self) -> Probe:
        """It answers at all."""

    @property
    def is_ready(self) -> Probe:
        """It does what it is there for; asked at the first start only."""

    def start(self) -> "Run":
        """Begin a run, and return before it is ready. Raises OSError."""


class Run(ABC):
    """One run of one child, from its start to its end."""

    left_over: str = ""
    """Why `stop` or `kill` could not clear everything away; empty when they could."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.answered_at: float | None = None
        self._is_over = threading.Event()

    @property
    def container(self) -> str | None:
        """The name of the container it runs in, if it runs in one."""
        return self.plan.container

    @property
    @abstractmethod
    def pid(self) -> int:
        """The process id on this machine, of the first of its processes; 0 when there is none to be seen."""

    @property
    @abstractmethod
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when a signal ended it."""

    @abstractmethod
    def ask_to_stop(self) -> None:
        """Send SIGTERM, unless it has ended."""

    @abstractmethod
    def stop(self, timeout_s: float) -> None:
        """Wait for the end that was asked for; then clear away whatever is left of it, whether it ended or not."""

    @abstractmethod
    def kill(self) -> None:
        """End it and all that belongs to it at once."""

    def log_tail(self) -> list[str]:
        """The last lines it wrote."""
        return self.plan.log.tail(TAIL_LINES)

    def _begin_asking(self) -> None:
        # A thread of its own, because a hung child holds up whoever asks it.
        threading.Thread(target=self._ask, name=f"probe-{self.plan.name}", daemon=True).start()

    def _ask(self) -> None:
        while not self._is_over.wait(PROBE_INTERVAL_S) and self.exit_code is None:
            if self.plan.is_alive():
                self.answered_at = time.monotonic()


@dataclass(frozen=True)
class ChildPlan:
    """A command to run. The probes are those of `Plan`."""

    name: str
    command: tuple[str, ...]
    log: LogFile
    is_alive: Probe
    is_ready: Probe
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def container(self) -> None:
        """See Plan."""
        return None

    def start(self) -> "Child":
        """See Plan."""
        return Child(self)


class Child(Run):
    """A running subprocess. Ctrl-C in a terminal does not reach it: its supervisor stops it."""

    def __init__(self, plan: ChildPlan) -> None:
        super().__init__(plan)
        with plan.log.open(plan.name) as log:
            self._process = subprocess.Popen(
                plan.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **plan.environment},
                start_new_session=True,
            )
        self._is_buried = False
        self._begin_asking()

    @property
    def pid(self) -> int:
        """See Run; it is the number of its process group too."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """See Run."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """See Run."""
        if self.exit_code is None:
            self._process.terminate()

    def stop(self, timeout_s: float) -> None:
        """See Run. What is left are workers of a dead server, in its process group.

        Once only: afterwards the group's number may be somebody else's.
        """
        if self._is_buried:
            return
        self._is_over.set()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            self._kill_group()

    def kill(self) -> None:
        """See Run."""
        if self.exit_code is None:
            self._process.kill()
        self.stop(timeout_s=10)

    def _kill_group(self) -> None:
        self._is_buried = True
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # nobody is left, as it should be
