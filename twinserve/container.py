"""The other kind of child: a container, supervised like a process.

Docker is told not to start it again: that is the supervisor's part, here as everywhere. So a container that somebody
kills with `docker kill` comes back too.
"""

import signal
import threading
from contextlib import suppress
from dataclasses import dataclass

from twinserve.child import Probe, Run
from twinserve.docker_daemon import ContainerSpec, Daemon, DockerFailed
from twinserve.log_file import LogFile

LAST_WORDS_S = 5.0
DAEMON_LOST = 1
_SIGNALLED = 128


@dataclass(frozen=True)
class ContainerPlan:
    """A container to run. The probes are those of `twinserve.child.Plan`."""

    name: str
    spec: ContainerSpec
    daemon: Daemon
    log: LogFile
    is_alive: Probe
    is_ready: Probe

    @property
    def container(self) -> str:
        """See twinserve.child.Plan."""
        return self.spec.name

    def start(self) -> "ContainerRun":
        """See twinserve.child.Plan. What an earlier run left under its name is removed."""
        return ContainerRun(self)


class ContainerRun(Run):
    """A running container, and the thread that copies what it writes into the log file and waits for its end."""

    def __init__(self, plan: ContainerPlan) -> None:
        super().__init__(plan)
        self._daemon = plan.daemon
        self._daemon.remove(plan.spec.name)
        self._log = plan.log.open(plan.name)
        try:
            self._container = self._daemon.start(plan.spec)
        except DockerFailed:
            self._log.close()
            raise
        self._exit_code: int | None = None
        self._is_being_removed = False
        self._watcher = threading.Thread(target=self._watch, name=f"container-{plan.name}", daemon=True)
        self._watcher.start()
        self._begin_asking()

    @property
    def pid(self) -> int:
        """See Run. Where Docker keeps its containers in a machine of their own, nobody here has this number."""
        return self._container.pid

    @property
    def exit_code(self) -> int | None:
        """See Run."""
        return self._exit_code

    def ask_to_stop(self) -> None:
        """See Run."""
        if self._exit_code is None:
            with suppress(DockerFailed):  # it ended meanwhile; or the daemon is gone, and `stop` says so
                self._container.ask_to_stop()

    def stop(self, timeout_s: float) -> None:
        """See Run."""
        self._is_over.set()
        self._watcher.join(timeout_s)
        self._remove()

    def kill(self) -> None:
        """See Run."""
        self._is_over.set()
        self._remove()

    def _remove(self) -> None:
        # Again when asked again: it may have failed before, or a start that failed may have left one under the name.
        self._is_being_removed = True
        self.left_over = ""
        try:
            self._daemon.remove(self._container.name)
        except DockerFailed as error:
            self.left_over = str(error)
            self._write(f"twinserve: {error}; the next start removes it\n".encode())
        self._watcher.join(LAST_WORDS_S)
        if not self._watcher.is_alive():
            self._log.close()

    def _watch(self) -> None:
        try:
            for chunk in self._container.output():
                self._write(chunk)
            self._end(self._container.wait())
        except DockerFailed as error:
            if self._is_being_removed:  # by us, before it had ended
                self._exit_code = -signal.SIGKILL
                return
            self._write(f"twinserve: {error}\n".encode())
            self._exit_code = DAEMON_LOST

    def _end(self, status: int) -> None:
        with suppress(DockerFailed):  # removed already: then it was asked to end
            if self._container.ran_out_of_memory():
                self._write(b"twinserve: the container reached its memory limit\n")
        was_signalled = status - _SIGNALLED in set(signal.Signals)
        self._exit_code = _SIGNALLED - status if was_signalled else status

    def _write(self, text: bytes) -> None:
        if self._log.closed:
            return
        with suppress(OSError):  # a full disk: the container is not to stall for it
            self._log.write(text)
            self._log.flush()
