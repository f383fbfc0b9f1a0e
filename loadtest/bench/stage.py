"""Everything that a run needs, started together and stopped together, and which of it answers a case."""

import signal
import subprocess
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Protocol as Interface
from typing import TypeVar

from loadtest.bench.children import NotStarted, module_command
from loadtest.bench.comparisons import Case, TargetName
from loadtest.bench.meter import Where
from loadtest.bench.targets import (
    Batching,
    Folders,
    InProcess,
    Platform,
    RawForward,
    TorchServeAlone,
    own_environment,
)

Say = Callable[[str], None]

PUBLISH_TIMEOUT_S = 600.0
UNDELAYED = Batching(1, 0)
USUAL = Batching(64, 2)
"""TorchServe's settings where none were searched for."""

_PLATFORM = {TargetName.GATEWAY_TORCHSERVE, TargetName.GATEWAY_TFSERVING, TargetName.TFSERVING}
_ALONE = {TargetName.TORCHSERVE, TargetName.TORCHSERVE_UNDELAYED}


class _Started(Interface):
    def wait_ready(self) -> None: ...
    def stop(self) -> None: ...


_S = TypeVar("_S", bound=_Started)


class Stage:
    """A context manager. `best` has TorchServe's best settings by connections, once they were searched for."""

    def __init__(self, folders: Folders, needed: Iterable[TargetName], say: Say) -> None:
        self._folders = folders
        self._needed = set(needed)
        self._say = say
        self._stack = ExitStack()
        self._running: list[_Started] = []
        self.best: dict[int, Batching] = {}
        self._alone: TorchServeAlone | None = None

    def __enter__(self) -> "Stage":
        """Raises NotStarted, OSError; nothing is left running then."""
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._say("stopping")
        self._stop()

    def _stop(self) -> None:
        """Whoever is impatient now would leave processes behind, so further signals have to wait."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._stack.close()

    def _start(self) -> None:
        self._publish()
        needed = self._needed
        if needed & _PLATFORM:
            self._platform = self._add(Platform(self._folders))
        if needed & _ALONE:
            self._alone = self._add(TorchServeAlone(self._folders))
        if TargetName.IN_PROCESS in needed:
            self._in_process = self._add(InProcess(self._folders))
        self._raw = {
            target: self._add(RawForward(self._folders, framework))
            for target, framework in ((TargetName.RAW_TORCH, "torch"), (TargetName.RAW_TENSORFLOW, "tensorflow"))
            if target in needed
        }
        for started in self._running:
            started.wait_ready()

    def _add(self, started: _S) -> _S:
        self._stack.callback(started.stop)
        self._running.append(started)
        self._say(f"starting {type(started).__name__}")
        return started

    def _publish(self) -> None:
        if self._folders.version.manifest.exists():
            return
        self._say("publishing the shipped versions, once")
        places = {
            "TWINSERVE_HOME": str(self._folders.home / "platform"),
            "TWINSERVE_REPOSITORY": str(self._folders.repository),
        }
        log = self._folders.log("publish")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            done = subprocess.run(
                module_command("twinserve.shipped"),
                env=own_environment(**places),
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=PUBLISH_TIMEOUT_S,
                check=False,
            )
        if done.returncode:
            raise NotStarted(f"the shipped versions could not be published, see {log}")

    def where(self, case: Case) -> Where:
        """Who answers a case. Raises OSError when TorchServe does not take the settings."""
        name = case.target
        if name in (TargetName.GATEWAY_TORCHSERVE, TargetName.GATEWAY_TFSERVING):
            engine = "torchserve" if name is TargetName.GATEWAY_TORCHSERVE else "tfserving"
            implementation = "torchserve" if engine == "torchserve" else self._platform.tfserving_implementation
            processes = self._platform.processes(engine, with_gateway=True)
            return Where(f"gateway→{implementation}", self._platform.gateway(engine, case.protocol), processes)
        if name is TargetName.TFSERVING:
            processes = self._platform.processes("tfserving", with_gateway=False)
            return Where(self._platform.tfserving_implementation, self._platform.tfserving(), processes)
        if name is TargetName.IN_PROCESS:
            return Where(self._in_process.implementation, self._in_process.endpoint, self._in_process.processes)
        if name in self._raw:
            raw = self._raw[name]
            return Where(raw.implementation, raw, raw.processes)
        undelayed = name is TargetName.TORCHSERVE_UNDELAYED
        return self.torchserve(case, UNDELAYED if undelayed else self.best_for(case.connections))

    def torchserve(self, case: Case, batching: Batching) -> Where:
        """TorchServe alone with given settings."""
        alone = self.alone
        alone.register(batching)
        return Where(alone.implementation, alone.endpoint(batching, case.protocol), alone.processes)

    @property
    def alone(self) -> TorchServeAlone:
        """Raises NotStarted where no case needs it."""
        if self._alone is None:
            raise NotStarted("TorchServe alone was not asked for")
        return self._alone

    def best_for(self, connections: int) -> Batching:
        """What was found for the nearest number of connections."""
        nearest = min(self.best, key=lambda known: abs(known - connections), default=None)
        return USUAL if nearest is None else self.best[nearest]
