"""The composed platform as its operators start it: docker-compose.yml with the embedded engine and the watchdog.

Project, ports and volumes are its own, so that it can run beside `docker compose up` and `make up`. The images are
built before (tests/composed/run.py).
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import requests

from tests.platform_process import wait_until
from tests.ports import free_port
from tests.served_platform import ServedPlatform

ROOT = Path(__file__).resolve().parents[2]
FILES = ("docker-compose.yml", "docker-compose.embedded.yml", "docker-compose.watchdog.yml")
SERVICES = ("tools", "torchserve", "tfserving", "gateway")
"""Those with an image of their own; beside them there is the watchdog."""
PROFILES = ("monitoring", "load")
SOCKET = Path("/var/run/docker.sock")
START_TIMEOUT_S = 280
READY_TIMEOUT_S = 120
COMMAND_TIMEOUT_S = 120
TOKEN_FILE = "/var/lib/twinserve/operator/admin-token"

# The same for every run of this checkout, so that a run clears away what a killed one left, and no other checkout's.
TAG = f"test-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"
PROJECT = f"twinserve-{TAG}"

Completed = subprocess.CompletedProcess[str]


def compose_command() -> list[str] | None:
    """Compose v2, else 1.29, else None."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and subprocess.run([*command, "version"], capture_output=True).returncode == 0:
            return command
    return None


def docker(*arguments: str, timeout_s: float = COMMAND_TIMEOUT_S, expected: Sequence[int] = (0,)) -> str:
    """What `docker` prints; fails with what it complains of unless its exit code is `expected`."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode in expected, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


@dataclass
class Compose:
    """The compose command of one project. `settings` are the variables that the shipped files read."""

    command: Sequence[str]
    settings: dict[str, str] = field(default_factory=dict)
    project: str = PROJECT
    files: Sequence[str] = FILES

    def __call__(self, *arguments: str, timeout_s: float = COMMAND_TIMEOUT_S) -> Completed:
        """Run it; whoever calls looks at the exit code."""
        files = [part for name in self.files for part in ("-f", str(ROOT / name))]
        command = [*self.command, "-p", self.project, *files, *arguments]
        environment = {**os.environ, "TWINSERVE_TAG": TAG, **self.settings}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    @property
    def stranger(self) -> str:
        """The name of a container that no engine should answer, and of its network; neither is one of Compose's."""
        return f"{self.project}-stranger"

    def make_stranger(self) -> str:
        """Start it, on a network of its own and on the gateway's outer one; returns its name."""
        name = self.stranger
        self.remove_stranger()
        docker("network", "create", name)
        docker("create", "--name", name, "--network", name, f"twinserve-gateway:{TAG}", "sleep", "300")
        docker("network", "connect", f"{self.project}_front", name)
        docker("start", name)
        return name

    def remove_stranger(self) -> None:
        """Whatever there is of it, perhaps from a run that was killed."""
        if self._named("ps", "-a"):
            docker("rm", "-f", self.stranger)
        if self._named("network", "ls"):
            docker("network", "rm", self.stranger)

    def _named(self, *listing: str) -> list[str]:
        """The stranger's name, if it is in that list: Docker's filter also finds names that only contain it."""
        shown = "{{.Names}}" if listing[0] == "ps" else "{{.Name}}"
        found = docker(*listing, "--filter", f"name={self.stranger}", "--format", shown)
        return [name for name in found.splitlines() if name == self.stranger]

    def down(self) -> list[str]:
        """End it, with its volumes; returns what is left all the same."""
        self.remove_stranger()  # first, since it is on a network of the project
        # Named, since a service of a profile that is not asked for is no orphan for Compose v2, and stays.
        profiles = [part for name in PROFILES for part in ("--profile", name)]
        done = self(*profiles, "down", "--volumes", "--remove-orphans", timeout_s=COMMAND_TIMEOUT_S)
        return self.leftovers() + ([done.stderr] if done.returncode else [])

    def leftovers(self) -> list[str]:
        """Containers, networks and volumes of the project."""
        label = f"label=com.docker.compose.project={self.project}"
        found = [docker("ps", "-a", "--filter", label, "--format", "{{.Names}}")]
        found += [docker(kind, "ls", "--filter", label, "--format", "{{.Name}}") for kind in ("network", "volume")]
        return [name for names in found for name in names.splitlines()]


@dataclass
class ComposedPlatform(ServedPlatform):
    """A composed platform that is ready. `repository` is a copy, taken when it was, and after each `publish`."""

    compose: Compose
    repository: Path
    home: Path

    @property
    def url(self) -> str:
        """See ServedPlatform."""
        return f"http://127.0.0.1:{self.compose.settings['TWINSERVE_HTTP_PORT']}"

    @property
    def grpc_address(self) -> str:
        """See ServedPlatform."""
        return f"127.0.0.1:{self.compose.settings['TWINSERVE_GRPC_PORT']}"

    @cached_property
    def token(self) -> str:
        """See ServedPlatform."""
        return docker("exec", self.container("gateway"), "cat", TOKEN_FILE)

    def containers(self, service: str) -> list[str]:
        """The ids of a service's containers, whatever their states, in the order of their numbers."""
        labels = {"project": self.compose.project, "service": service, "oneoff": "False"}
        filters = [
            part for name, value in labels.items() for part in ("-f", f"label=com.docker.compose.{name}={value}")
        ]
        number = '{{.Label "com.docker.compose.container-number"}} {{.ID}}'
        found = docker("ps", "-a", "--no-trunc", "--format", number, *filters).splitlines()
        return [line.split()[1] for line in sorted(found, key=lambda line: int(line.split()[0]))]

    def container(self, service: str) -> str:
        """The id of a service's only container, whatever its state."""
        found = self.containers(service)
        assert len(found) == 1, f"{service}: {found}"
        return found[0]

    def inspect(self, service: str) -> dict[str, Any]:
        """What Docker knows of a service's container."""
        document: list[dict[str, Any]] = json.loads(docker("inspect", self.container(service)))
        return document[0]

    def shell(self, service: str, script: str) -> Completed:
        """Run a script of bash's in a service's container, as its user."""
        command = ["docker", "exec", self.container(service), "bash", "-c", script]
        return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)

    def run(self, *arguments: str) -> Completed:
        """See ServedPlatform."""
        environment = {
            **os.environ,
            "TWINSERVE_ADMIN_TOKEN": self.token,
            "TWINSERVE_HOME": str(self.home),  # no `up` runs from there
        }
        command = [sys.executable, "-m", "twinserve", *arguments, "--url", self.url]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )

    def publish(self, model: str, files: Path, *arguments: str) -> Completed:
        """See ServedPlatform."""
        one_off = ("run", "--rm", "-T", "-v", f"{files}:{files}:ro", "tools")
        done = self.compose(*one_off, "twinserve", "publish", model, *arguments)
        self.copy_repository()
        return done

    def kill(self, engine: str) -> None:
        """See ServedPlatform. Nobody inside can kill the first process, docker-init; its child is the engine."""
        done = self.shell(engine, "read pid _ < /proc/1/task/1/children; kill -9 $pid")
        assert done.returncode in (0, 137), done.stderr  # 137: it died with what it killed

    def restarts(self, engine: str) -> int:
        """See ServedPlatform."""
        return int(self.inspect(engine)["RestartCount"])

    def copy_repository(self) -> None:
        """Read the volume anew."""
        shutil.rmtree(self.repository, ignore_errors=True)
        docker("cp", f"{self.container('gateway')}:/models", str(self.repository))

    @contextmanager
    def gateway_processes(self, count: int) -> Iterator[None]:
        """With that many processes in the gateway's container, and one again afterwards."""
        try:
            self._remake_gateway(count)
            yield
        finally:
            self._remake_gateway(1)

    def _remake_gateway(self, processes: int) -> None:
        self.compose.settings["TWINSERVE_GATEWAY_PROCESSES"] = str(processes)
        done = self.compose("up", "-d", "--no-deps", "gateway")
        assert done.returncode == 0, done.stderr
        self.wait_ready()

    def wait_ready(self) -> None:
        """Until the gateway's container is healthy: the live version can be answered."""
        wait_until(
            lambda: self.inspect("gateway")["State"]["Health"]["Status"] == "healthy", READY_TIMEOUT_S, "healthy"
        )
        assert requests.get(f"{self.url}/v2/health/ready", timeout=10).status_code == 200


AnyPlatform = TypeVar("AnyPlatform", bound=ComposedPlatform)


@contextmanager
def composed_platform(folder: Path) -> Iterator[ComposedPlatform]:
    """Start the platform, wait until it is healthy; end it afterwards and check that nothing is left."""
    compose = make_compose({f"TWINSERVE_{name}_PORT": str(free_port()) for name in ("HTTP", "GRPC")})
    with started(ComposedPlatform(compose, folder / "repository", folder / "home")) as platform:
        yield platform


def make_compose(ports: dict[str, str], project: str = PROJECT, files: Sequence[str] = FILES) -> Compose:
    """The compose command of a project that may run on this machine beside others."""
    command = compose_command()
    assert command, "neither `docker compose` nor docker-compose can be run"
    fixed = {"TWINSERVE_PUBLISH_ADDRESS": "127.0.0.1", "TWINSERVE_GATEWAY_PROCESSES": "1"}
    group = {"DOCKER_GID": str(SOCKET.stat().st_gid)}
    return Compose(command, {**ports, **fixed, **group}, project, files)


@contextmanager
def started(platform: AnyPlatform) -> Iterator[AnyPlatform]:
    """Start it, wait until it is healthy; end it afterwards and check that nothing is left."""
    compose = platform.compose
    with _only_one(compose.project):
        compose.down()
        started_at = time.monotonic()
        try:
            up = compose("up", "-d", timeout_s=START_TIMEOUT_S)
            assert up.returncode == 0, f"{up.stderr}\n{compose('logs', '--tail', '40').stdout}"
            platform.wait_ready()
            platform.copy_repository()
            print(f"composed platform healthy after {time.monotonic() - started_at:.0f} s", file=sys.stderr)
            yield platform
        finally:
            left = compose.down()
        assert left == [], f"left over: {left}"


@contextmanager
def _only_one(project: str) -> Iterator[None]:
    with Path(tempfile.gettempdir(), f"{project}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AssertionError(f"another test run of this checkout uses the project {project}") from None
        yield
