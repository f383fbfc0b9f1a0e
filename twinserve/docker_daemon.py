"""The Docker daemon, as far as engines in containers and the watchdog need it: a thin layer over Docker's SDK.

Rules: the SDK is imported here alone, and only when a daemon is wanted: without containers nobody needs the package.
Whatever goes wrong leaves as DockerFailed. Nothing here knows what is in the containers.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn

from twinserve.docker_events import ACTIONS, ContainerEvent, ContainerLook, read_event, read_look

TIMEOUT_S = 30
"""Of one question to the daemon; removing a container, which may be frozen, takes it the longest."""

PROCESSES_LIMIT = 1024
REMOVAL_TIMEOUT_S = 30.0
"""Of a removal that somebody else began."""

_REMOVAL_POLL_S = 0.2


class DockerFailed(OSError):
    """The daemon refused, failed, or could not be reached; the message says what was wanted of it."""


@dataclass(frozen=True)
class Mount:
    """A folder of this machine, at another path in a container."""

    source: Path
    target: str
    is_writable: bool = False


@dataclass(frozen=True)
class ContainerSpec:
    """A container to be. `command` replaces the image's own, entry point included, unless it is empty.

    `ports`: ports of this machine's loopback by port in the container. `user`: "UID:GID". `memory` as Docker writes it
    ("4g"), `cpus` a number of processors, 0 for all.
    """

    name: str
    image: str
    labels: Mapping[str, str]
    mounts: Sequence[Mount]
    ports: Mapping[int, int]
    user: str
    environment: Mapping[str, str]
    memory: str
    cpus: float = 0.0
    command: Sequence[str] = ()


class Container:
    """A container that was started."""

    def __init__(self, container: Any) -> None:
        self._container = container
        self.name = str(container.name)

    @property
    def pid(self) -> int:
        """The process id of its first process on this machine; 0 when it had ended before anybody looked."""
        return int(self._container.attrs["State"]["Pid"])

    def output(self) -> Iterator[bytes]:
        """What it writes, as it comes, until it ends. Raises DockerFailed."""
        with _translated(f"follow the output of {self.name}"):
            yield from self._container.logs(stream=True, follow=True)

    def wait(self) -> int:
        """Its exit code, once it has ended: 128 and a signal's number when a signal ended it. Raises DockerFailed."""
        with _translated(f"wait for {self.name}"):
            return int(self._container.wait()["StatusCode"])

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel killed a process of it for its memory limit. Raises DockerFailed."""
        with _translated(f"look at {self.name}"):
            self._container.reload()
            return bool(self._container.attrs["State"]["OOMKilled"])

    def ask_to_stop(self) -> None:
        """Send SIGTERM. Raises DockerFailed."""
        with _translated(f"stop {self.name}"):
            self._container.kill(signal="SIGTERM")


class Daemon:
    """A client of the daemon. `connect` makes one."""

    def __init__(self, client: Any) -> None:
        self._client = client

    @classmethod
    def connect(cls) -> "Daemon":
        """The daemon that the environment names, as for the `docker` command. Raises DockerFailed."""
        try:
            import docker
        except ModuleNotFoundError as error:
            needed = "engines in containers need the package docker: pip install -c constraints.txt -e '.[docker]'"
            raise DockerFailed(needed) from error
        try:
            client = docker.from_env(timeout=TIMEOUT_S)
            client.ping()
        except (docker.errors.DockerException, OSError) as error:
            raise DockerFailed(f"no Docker daemon answers; is it running, and may you use it? ({error})") from error
        return cls(client)

    def has_image(self, name: str) -> bool:
        """Raises DockerFailed."""
        from docker.errors import ImageNotFound

        with _translated(f"look for the image {name}"):
            try:
                self._client.images.get(name)
            except ImageNotFound:
                return False
            return True

    def start(self, spec: ContainerSpec) -> Container:
        """Make a container and start it; Docker itself never starts it again. Raises DockerFailed.

        It runs without capabilities, on a read-only root with a small /tmp in memory, and its ports are published on
        loopback only.
        """
        with _translated(f"start {spec.name}"):
            container = self._client.containers.create(
                spec.image,
                name=spec.name,
                labels=dict(spec.labels),
                **_command(spec.command),
                environment=dict(spec.environment),
                user=spec.user,
                ports={f"{inside}/tcp": ("127.0.0.1", outside) for inside, outside in spec.ports.items()},
                volumes={
                    str(mount.source): {"bind": mount.target, "mode": "rw" if mount.is_writable else "ro"}
                    for mount in spec.mounts
                },
                mem_limit=spec.memory,
                nano_cpus=round(spec.cpus * 1e9),
                pids_limit=PROCESSES_LIMIT,
                init=True,
                read_only=True,
                tmpfs={"/tmp": "size=64m"},  # noqa: S108 - the container's own
                cap_drop=["ALL"],
                security_opt=["no-new-privileges:true"],
                log_config={"type": "json-file", "config": {"max-size": "10m", "max-file": "2"}},
            )
        try:
            with _translated(f"start {spec.name}"):
                container.start()
                container.reload()
        except DockerFailed:
            self.remove(spec.name)
            raise
        return Container(container)

    def remove(self, name: str) -> None:
        """Kill and forget a container, frozen ones too; one that does not exist is as good. Raises DockerFailed.

        One that is being removed already is waited for, since until then nobody else can have its name.
        """
        from docker.errors import APIError, NotFound

        with _translated(f"remove {name}"):
            try:
                container = self._client.containers.get(name)
                try:
                    container.remove(force=True, v=True)
                except APIError as error:
                    if not _is_being_removed(error):
                        raise
                    _await_end(container)
            except NotFound:
                return

    def remove_labelled(self, labels: Mapping[str, str]) -> list[str]:
        """Remove all containers with these labels, whatever their state; returns their names. Raises DockerFailed."""
        with _translated("look for containers that were left over"):
            filters = {"label": _pairs(labels)}
            names = [str(container.name) for container in self._client.containers.list(all=True, filters=filters)]
        for name in names:
            self.remove(name)
        return names

    def labelled(self, labels: Mapping[str, str]) -> dict[str, str]:
        """The names of all containers with these labels, by id, whatever their state. Raises DockerFailed."""
        with _translated("look for containers"):
            found = self._client.containers.list(all=True, filters={"label": _pairs(labels)}, ignore_removed=True)
            return {str(container.id): str(container.name) for container in found}

    def look(self, name: str) -> ContainerLook | None:
        """What a container is, by name or id; None when there is none. Raises DockerFailed."""
        from docker.errors import NotFound

        with _translated(f"look at {name[:12]}"):
            try:
                known = self._client.containers.get(name).attrs
            except NotFound:
                return None
            return read_look(known)

    def start_again(self, name: str) -> None:
        """Start a container that has ended, by name or id; one that runs is as good. Raises DockerFailed."""
        with _translated(f"start {name[:12]}"):
            self._client.containers.get(name).start()

    def events(self, labels: Mapping[str, str], since_ns: int, until_s: float) -> Iterator[ContainerEvent]:
        """What happened to containers with these labels, and happens, between two times since 1970, as it comes.

        The daemon remembers some 256 events, of all containers together. Raises DockerFailed.
        """
        until_ns = max(int(until_s * 1e9), since_ns)  # it refuses an end before the beginning
        with _translated("follow the events"):
            stream = self._client.events(
                since=_timestamp(since_ns),
                until=_timestamp(until_ns),
                filters={"type": "container", "event": list(ACTIONS), "label": _pairs(labels)},
                decode=True,
            )
            try:
                for event in stream:
                    yield read_event(event)
            finally:
                stream.close()


def _timestamp(at_ns: int) -> str:
    return f"{at_ns // 10**9}.{at_ns % 10**9:09}"


def _pairs(labels: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in labels.items()]


def _is_being_removed(error: Any) -> bool:
    return error.status_code == HTTPStatus.CONFLICT and "already in progress" in str(error)


def _await_end(container: Any) -> NoReturn:
    """Raises docker.errors.NotFound once it is gone, DockerFailed when that takes too long."""
    deadline = time.monotonic() + REMOVAL_TIMEOUT_S
    pause = threading.Event()
    while time.monotonic() < deadline:
        container.reload()
        pause.wait(_REMOVAL_POLL_S)
    raise DockerFailed(f"{container.name} is being removed, but is still there after {REMOVAL_TIMEOUT_S:g} s")


def _command(command: Sequence[str]) -> dict[str, list[str]]:
    return {"entrypoint": [command[0]], "command": list(command[1:])} if command else {}


@contextmanager
def _translated(wanted: str) -> Iterator[None]:
    from docker.errors import DockerException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except DockerFailed:
        raise
    except (DockerException, HTTPError, OSError) as error:  # the SDK lets both of its HTTP layers show through
        raise DockerFailed(f"Docker cannot {wanted}: {error}") from error
