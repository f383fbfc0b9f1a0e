"""What the bench starts beside the platform: TorchServe alone, the in-process rival, and the bare forward pass.

Each knows its `implementation`, its processes, and where it takes which protocol.
"""

import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from contracts.addresses import Ports
from contracts.layout import ModelPaths, VersionPaths
from loadtest.bench.cases import Protocol
from loadtest.bench.children import LOOPBACK, Child, accepts, free_ports, module_command
from loadtest.bench.dialects import Blob, Floats, RawFloats, TorchServeGrpc
from loadtest.bench.endpoints import Endpoint, GrpcEndpoint, HttpEndpoint

MODEL, VERSION = "mnist", 2
START_TIMEOUT_S = 240.0
TORCHSERVE_PREDICTIONS = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"

ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_MMAP_THRESHOLD_": "1000000000"}
"""Glibc keeps a batch's memory for the next one; every server here gets the same."""


@dataclass(frozen=True)
class Folders:
    """Where the bench writes: everything below one folder."""

    home: Path

    @property
    def repository(self) -> Path:
        return self.home / "repository"

    @property
    def version(self) -> VersionPaths:
        return ModelPaths(self.repository, MODEL).version(VERSION)

    def log(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"


def new_ports() -> Ports:
    names = [field.name for field in fields(Ports)]
    return Ports(**dict(zip(names, free_ports(len(names)), strict=True)))


def own_environment(**added: str) -> dict[str, str]:
    """Ours without what would point a server at another platform, and what is added."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TWINSERVE_", "TS_"))}
    settings = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return kept | settings | added


PASSED_ON = (
    "TWINSERVE_GATEWAY_PROCESSES",
    "TWINSERVE_BATCH_IN_FLIGHT",
    "TWINSERVE_BATCH_ROWS",
    "TWINSERVE_QUEUE_ROWS",
    "TWINSERVE_LOG_LEVEL",
)
"""What may be set to measure the gateway with it."""


@dataclass(frozen=True)
class Batching:
    """How TorchServe batches by itself: rows a batch, and how long it waits for them."""

    size: int
    delay_ms: int

    @property
    def model(self) -> str:
        """The name a model is registered under with these settings."""
        return f"{MODEL}-b{self.size}-d{self.delay_ms}"


class TorchServeAlone:
    """A TorchServe of its own, launched as the platform's is: allocator tuned, no access log, our archive."""

    implementation = "torchserve"

    def __init__(self, folders: Folders) -> None:
        self._folder = folders.home / "torchserve"
        store = self._folder / "store"
        store.mkdir(parents=True, exist_ok=True)
        link = store / f"{MODEL}.mar"
        link.unlink(missing_ok=True)
        link.symlink_to(folders.version.archive.resolve())
        self._ports = new_ports()
        run_dir = self._folder / "run"
        (run_dir / "key_file.json").unlink(missing_ok=True)
        arguments = ("--run-dir", str(run_dir), "--model-store", str(store))
        command = module_command("workers.torch.launcher", *arguments)
        environment = own_environment(**self._ports.to_environment())
        self._child = Child("torchserve alone", command, environment, folders.log("torchserve"))
        self._registered: set[Batching] = set()

    def wait_ready(self) -> None:
        """Raises NotStarted, OSError."""
        self._child.wait_until(
            lambda: accepts(self._ports.torchserve_management) and (self._folder / "run" / "key_file.json").exists(),
            START_TIMEOUT_S,
        )
        self._keys = json.loads((self._folder / "run" / "key_file.json").read_bytes())

    def register(self, batching: Batching) -> None:
        """Load a model with these settings; returns when its worker is ready. Raises OSError."""
        if batching not in self._registered:
            query = f"url={MODEL}.mar&model_name={batching.model}&initial_workers=1&synchronous=true"
            self._manage("POST", f"/models?{query}&batch_size={batching.size}&max_batch_delay={batching.delay_ms}")
            self._registered.add(batching)

    def forget(self, batching: Batching) -> None:
        """Unload it. Raises OSError."""
        if batching in self._registered:
            self._manage("DELETE", f"/models/{batching.model}")
            self._registered.remove(batching)

    def _manage(self, method: str, path: str) -> None:
        url = f"http://{LOOPBACK}:{self._ports.torchserve_management}{path}"
        headers = {"Authorization": f"Bearer {self._keys['management']['key']}"}
        request = urllib.request.Request(url, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
                answer.read()
        except urllib.error.HTTPError as error:
            raise OSError(f"{method} {path} answered {error.code}: {error.read()[:300]!r}") from error

    def endpoint(self, batching: Batching, protocol: Protocol) -> Endpoint:
        token = f"Bearer {self._keys['inference']['key']}"
        if protocol is Protocol.GRPC:
            dialect, port = TorchServeGrpc(batching.model), self._ports.torchserve_grpc_inference
            return GrpcEndpoint(port, TORCHSERVE_PREDICTIONS, dialect, (("authorization", token),))
        path = f"/predictions/{batching.model}"
        return HttpEndpoint(self._ports.torchserve_inference, path, Blob(), {"Authorization": token})

    @property
    def processes(self) -> dict[str, int]:
        return {"torchserve": self._child.pid}

    @property
    def pid(self) -> int:
        return self._child.pid

    def stop(self) -> None:
        self._child.stop()


class InProcess:
    """FastAPI and torch in one process, batched in flight."""

    implementation = "fastapi+torch"

    def __init__(self, folders: Folders) -> None:
        (self._port,) = free_ports(1)
        arguments = ("--port", str(self._port), "--archive", str(folders.version.archive))
        command = module_command("loadtest.bench.in_process_server", *arguments)
        environment = own_environment(**ALLOCATOR, OMP_NUM_THREADS="1")
        self._child = Child("in-process server", command, environment, folders.log("in-process"))

    def wait_ready(self) -> None:
        """Raises NotStarted."""
        self._child.wait_until(lambda: accepts(self._port), START_TIMEOUT_S)

    @property
    def endpoint(self) -> Endpoint:
        return HttpEndpoint(self._port, "/infer", RawFloats())

    @property
    def processes(self) -> dict[str, int]:
        return {"in-process": self._child.pid}

    @property
    def pid(self) -> int:
        return self._child.pid

    def stop(self) -> None:
        self._child.stop()


@dataclass(frozen=True)
class RawKind:
    """How a bare forward pass is computed; the words are those of `loadtest.bench.raw_forward`."""

    framework: str = "torch"
    on_gpu: bool = False
    is_half: bool = False
    has_graphs: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        flags = (("--gpu", self.on_gpu), ("--half", self.is_half), ("--graphs", self.has_graphs))
        return ("--framework", self.framework, *(flag for flag, is_set in flags if is_set))


class RawForward:
    """A forward pass by itself; asked over its standard input, answering into a file of lines."""

    def __init__(self, folders: Folders, kind: RawKind) -> None:
        self.implementation = kind.framework
        name = "-".join(("raw", *(word.strip("-") for word in kind.arguments if word != "--framework")))
        self._answers = folders.log(name)
        command = module_command("loadtest.bench.raw_forward", *kind.arguments, "--version", str(folders.version.root))
        environment = own_environment(**ALLOCATOR, TF_CPP_MIN_LOG_LEVEL="2")
        self._child = Child(name, command, environment, self._answers)

    def wait_ready(self) -> None:
        """Raises NotStarted."""
        self._child.wait_until(lambda: b"ready\n" in self._answers.read_bytes(), START_TIMEOUT_S)

    def run(self, rows: int, seconds: float) -> tuple[float, list[float]]:
        """Seconds it took, and the latency of each pass in seconds. Raises NotStarted, OSError."""
        answer = self._ask(f"{rows} {seconds}", seconds + 60)
        return answer["seconds"], answer["latencies_s"]

    def answer_golden(self) -> Floats:
        """Logits FP32 [N,10] for the version's golden images. Raises NotStarted, OSError."""
        return np.array(self._ask("golden", 120)["logits"], np.float32)

    def _ask(self, line: str, timeout_s: float) -> dict[str, Any]:
        at = self._answers.stat().st_size
        self._child.tell(f"{line}\n")
        self._child.wait_until(lambda: self._answers.read_bytes()[at:].endswith(b"}\n"), timeout_s)
        answer: dict[str, Any] = json.loads(self._answers.read_bytes()[at:].splitlines()[-1])
        return answer

    @property
    def processes(self) -> dict[str, int]:
        return {"forward": self._child.pid}

    @property
    def pid(self) -> int:
        return self._child.pid

    def stop(self) -> None:
        self._child.stop()
