"""The platform as `twinserve up` starts it, and a gateway of several processes beside its own."""

import urllib.request
from collections.abc import Mapping

import msgspec

from contracts.addresses import Ports, variable
from contracts.tfserving import PREDICT
from loadtest.bench.cases import Protocol
from loadtest.bench.children import LOOPBACK, Child, module_command
from loadtest.bench.dialects import OipBinary, OipGrpc, OipJson, Predict
from loadtest.bench.endpoints import Endpoint, GrpcEndpoint, HttpEndpoint
from loadtest.bench.targets import MODEL, START_TIMEOUT_S, Folders, new_ports, own_environment

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"


class _UpChild(msgspec.Struct):
    name: str
    pid: int


class _Up(msgspec.Struct):
    tfserving_implementation: str
    children: list[_UpChild]


class Platform:
    """Both engines and the gateway, as `twinserve up` starts them."""

    def __init__(self, folders: Folders, settings: Mapping[str, str]) -> None:
        self._home = folders.home / "platform"
        self._repository = folders.repository
        self._ports = new_ports()
        places = {"TWINSERVE_HOME": str(self._home), "TWINSERVE_REPOSITORY": str(folders.repository)}
        environment = own_environment(**places, **self._ports.to_environment(), **settings)
        self._child = Child("platform", module_command("twinserve", "up"), environment, folders.log("platform"))

    def wait_ready(self) -> None:
        """Raises NotStarted."""
        self._child.wait_until(lambda: _is_ready(self._ports.http), START_TIMEOUT_S)
        up = msgspec.json.decode((self._home / "up.json").read_bytes(), type=_Up)
        self.tfserving_implementation = up.tfserving_implementation
        self._pids = {child.name: child.pid for child in up.children}

    def processes(self, engine: str, *, with_gateway: bool) -> dict[str, int]:
        """Process ids of what an answer of the engine needs."""
        names = ["gateway", engine] if with_gateway else [engine]
        return {name: self._pids[name] for name in names}

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def http_port(self) -> int:
        return self._ports.http

    def gateway(self, engine: str, protocol: Protocol) -> Endpoint:
        """The gateway, told to use one engine."""
        return gateway_endpoint(self._ports, engine, protocol)

    def gateway_environment(self, ports: Ports) -> dict[str, str]:
        """What another gateway is started with that listens at `ports` and asks the same engines."""
        engines = {name: str(port) for name, port in self._ports.to_environment().items()}
        listens = {name: ports.to_environment()[name] for name in (variable("http"), variable("grpc"))}
        return {
            **engines,
            **listens,
            "TWINSERVE_REPOSITORY": str(self._repository),
            "TWINSERVE_TORCHSERVE_KEY_FILE": str(self._home / "torchserve" / "key_file.json"),
            "TWINSERVE_TFSERVING_IMPLEMENTATION": self.tfserving_implementation,
            "TWINSERVE_TFSERVING_REPOSITORY": str(self._repository),
        }

    def tfserving(self) -> Endpoint:
        """The TF engine itself."""
        return GrpcEndpoint(self._ports.tfserving_grpc, PREDICT, Predict(MODEL))

    def stop(self) -> None:
        self._child.stop()


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/v2/health/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


class GatewayBeside:
    """A gateway of `processes` processes on the platform's engines, which stay as warm as they are."""

    def __init__(self, folders: Folders, platform: Platform, processes: int, settings: Mapping[str, str]) -> None:
        self.count = processes
        self._ports = new_ports()
        own = {"TWINSERVE_GATEWAY_PROCESSES": str(processes)}
        given = {**own_environment(), **platform.gateway_environment(self._ports), **own, **settings}
        name = f"gateway of {processes}"
        log = folders.log(name.replace(" ", "-"))
        self._child = Child(name, module_command("gateway"), given, log)

    def wait_ready(self) -> None:
        """Raises NotStarted. Any of the processes may answer, so ready is who says so many times in a row."""
        tries = range(4 * self.count)
        self._child.wait_until(lambda: all(_is_ready(self._ports.http) for _ in tries), START_TIMEOUT_S)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def http_port(self) -> int:
        return self._ports.http

    def endpoint(self, engine: str, protocol: Protocol) -> Endpoint:
        """Told to use one engine."""
        return gateway_endpoint(self._ports, engine, protocol)

    def stop(self) -> None:
        self._child.stop()


def gateway_endpoint(ports: Ports, engine: str, protocol: Protocol) -> Endpoint:
    """A gateway that is told to use one engine."""
    if protocol is Protocol.GRPC:
        return GrpcEndpoint(ports.grpc, MODEL_INFER, OipGrpc(MODEL), (("x-engine", engine),))
    if protocol is Protocol.PREDICT:
        return GrpcEndpoint(ports.grpc, PREDICT, Predict(MODEL), (("x-engine", engine),))
    dialect = OipJson() if protocol is Protocol.JSON else OipBinary()
    return HttpEndpoint(ports.http, f"/v2/models/{MODEL}/infer", dialect, {"X-Engine": engine})
