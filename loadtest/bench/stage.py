"""Everything that a run needs, started together and stopped together, and which of it answers a case."""

import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Protocol as Interface
from typing import TypeVar

from loadtest.bench.cases import GATEWAYS, Case, TargetName
from loadtest.bench.children import Child, NotStarted, module_command
from loadtest.bench.gateways import GatewayBeside, Platform
from loadtest.bench.gpu_cases import RAW_KINDS
from loadtest.bench.lifeline import Lifeline
from loadtest.bench.meter import Where
from loadtest.bench.targets import Batching, Folders, InProcess, RawForward, RawKind, TorchServeAlone, own_environment

Say = Callable[[str], None]

PUBLISH_TIMEOUT_S = 600.0
UNDELAYED = Batching(1, 0)
USUAL = Batching(64, 2)
"""TorchServe's settings where none were searched for."""

_PLATFORM = {*GATEWAYS, TargetName.TFSERVING}
_ALONE = {TargetName.TORCHSERVE, TargetName.TORCHSERVE_UNDELAYED}

_RAW = {TargetName.RAW_TORCH: RawKind(), TargetName.RAW_TENSORFLOW: RawKind("tensorflow"), **RAW_KINDS}


class _Owned(Interface):
    @property
    def pid(self) -> int: ...
    def stop(self) -> None: ...


class _Started(_Owned, Interface):
    def wait_ready(self) -> None: ...


_O = TypeVar("_O", bound=_Owned)
_S = TypeVar("_S", bound=_Started)


class Stage:
    """A context manager. `best` has TorchServe's best settings by connections, once they were searched for.

    Whatever is started is held by the lifeline. `settings`: environment variables for the platform's gateway.
    """

    def __init__(
        self,
        folders: Folders,
        needed: Iterable[TargetName],
        lifeline: Lifeline,
        say: Say,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._folders = folders
        self._needed = set(needed)
        self._lifeline = lifeline
        self._say = say
        self._settings = settings or {}
        self._stack = ExitStack()
        self._beside_stack = ExitStack()
        self._running: list[_Started] = []
        self.best: dict[int, Batching] = {}
        self._alone: TorchServeAlone | None = None
        self._beside: GatewayBeside | None = None

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
            self._platform = self._add(Platform(self._folders, self._settings))
        if needed & _ALONE:
            self._alone = self._add(TorchServeAlone(self._folders))
        if TargetName.IN_PROCESS in needed:
            self._in_process = self._add(InProcess(self._folders))
        self._raw = {target: self._add(RawForward(self._folders, _RAW[target])) for target in _RAW if target in needed}
        for started in self._running:
            started.wait_ready()
        self._stack.push(self._beside_stack)  # stopped first, whichever there is then

    def _add(self, started: _S) -> _S:
        self._say(f"starting {type(started).__name__}")
        self._running.append(started)
        return self._own(self._stack, started)

    def _own(self, stack: ExitStack, started: _O) -> _O:
        # Held until it has stopped: what could not be stopped is killed when the lifeline ends.
        self._lifeline.hold(started.pid)
        stack.callback(self._end, started)
        return started

    def _end(self, started: _Owned) -> None:
        started.stop()
        self._lifeline.release(started.pid)

    def _gateway_of(self, processes: int) -> GatewayBeside:
        """A gateway of so many processes beside the platform's; another number takes its place."""
        if self._beside is None or self._beside.count != processes:
            self._beside_stack.close()
            self._say(f"starting a gateway of {processes}")
            made = GatewayBeside(self._folders, self._platform, processes, self._settings)
            self._beside = self._own(self._beside_stack, made)
            self._beside.wait_ready()
        return self._beside

    def _publish(self) -> None:
        if self._folders.version.manifest.exists():
            return
        self._say("publishing the shipped versions, once")
        places = {
            "TWINSERVE_HOME": str(self._folders.home / "platform"),
            "TWINSERVE_REPOSITORY": str(self._folders.repository),
        }
        log = self._folders.log("publish")
        publishing = Child("publishing", module_command("twinserve.shipped"), own_environment(**places), log)
        self._own(self._stack, publishing)
        try:
            code = publishing.process.wait(PUBLISH_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise NotStarted(
                f"the shipped versions were not published in {PUBLISH_TIMEOUT_S:g} s, see {log}"
            ) from error
        if code:
            raise NotStarted(f"the shipped versions could not be published, see {log}")

    def where(self, case: Case) -> Where:
        """Who answers a case. Raises OSError when TorchServe does not take the settings."""
        name = case.target
        if name in GATEWAYS:
            return self._through_gateway(case)
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

    def _through_gateway(self, case: Case) -> Where:
        engine = "torchserve" if case.target is TargetName.GATEWAY_TORCHSERVE else "tfserving"
        platform = self._platform
        implementation = "torchserve" if engine == "torchserve" else platform.tfserving_implementation
        processes = platform.processes(engine, with_gateway=True)
        if case.processes is None:
            endpoint, port = platform.gateway(engine, case.protocol), platform.http_port
        else:
            beside = self._gateway_of(case.processes)
            endpoint, port = beside.endpoint(engine, case.protocol), beside.http_port
            processes["gateway"] = beside.pid
        return Where(f"gateway→{implementation}", endpoint, processes, (port, engine))

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
