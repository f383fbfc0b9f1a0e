"""One subprocess of the platform: started, watched and stopped by pid, its output in a log file of its own."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

TAIL_LINES = 12
_TAIL_BYTES = 16384


@dataclass(frozen=True)
class ChildPlan:
    """What to run. `is_ready` asks the child itself, quickly, and never raises."""

    name: str
    command: tuple[str, ...]
    log: Path
    is_ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)


class Child:
    """A running subprocess, leader of a process group of its own: Ctrl-C in a terminal reaches only the supervisor."""

    def __init__(self, plan: ChildPlan) -> None:
        self.plan = plan
        plan.log.parent.mkdir(parents=True, exist_ok=True)
        with plan.log.open("wb") as log:
            self._process = subprocess.Popen(
                plan.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **plan.environment},
                start_new_session=True,
            )

    @property
    def name(self) -> str:
        return self.plan.name

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
        """Wait for the end that was asked for; then kill whatever is left of its group (workers of a dead server)."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            self._kill_group()

    def _kill_group(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # nobody is left, as it should be

    def log_tail(self) -> list[str]:
        """The last lines it wrote."""
        with self.plan.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        return [line for line in lines if line.strip()][-TAIL_LINES:]
