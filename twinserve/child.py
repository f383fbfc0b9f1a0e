"""One run of one child: a subprocess leading a process group of its own, logging to a file, asked for signs of life."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from twinserve.log_file import LogFile

TAIL_LINES = 12
PROBE_INTERVAL_S = 0.5


@dataclass(frozen=True)
class ChildPlan:
    """What to run. Both probes ask the child itself, quickly, and never raise.

    `is_alive`: it answers at all. `is_ready`: it does what it is there for, asked at the first start only.
    """

    name: str
    command: tuple[str, ...]
    log: LogFile
    is_alive: Callable[[], bool]
    is_ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)


class Child:
    """A running subprocess. Ctrl-C in a terminal does not reach it: its supervisor stops it."""

    def __init__(self, plan: ChildPlan) -> None:
        self.plan = plan
        self.answered_at: float | None = None
        with plan.log.open(plan.name) as log:
            self._process = subprocess.Popen(
                plan.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **plan.environment},
                start_new_session=True,
            )
        self._ended = threading.Event()
        self._is_buried = False
        # A thread of its own, because a hung child holds up whoever asks it.
        threading.Thread(target=self._ask, name=f"probe-{plan.name}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when a signal ended it."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """Send SIGTERM, unless it has ended."""
        if self.exit_code is None:
            self._process.terminate()

    def stop(self, timeout_s: float) -> None:
        """Wait for the end that was asked for; then kill whatever is left of its group (workers of a dead server).

        Once only: afterwards the group's number may be somebody else's.
        """
        if self._is_buried:
            return
        self._ended.set()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            self._kill_group()

    def kill(self) -> None:
        """End it and its group at once."""
        if self.exit_code is None:
            self._process.kill()
        self.stop(timeout_s=10)

    def log_tail(self) -> list[str]:
        """The last lines it wrote."""
        return self.plan.log.tail(TAIL_LINES)

    def _ask(self) -> None:
        while not self._ended.wait(PROBE_INTERVAL_S) and self.exit_code is None:
            if self.plan.is_alive():
                self.answered_at = time.monotonic()

    def _kill_group(self) -> None:
        self._is_buried = True
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # nobody is left, as it should be
