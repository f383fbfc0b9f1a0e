"""A stand-in for Docker's SDK: the calls that twinserve makes of it, answered from memory.

Containers do nothing but live until a test ends them. The errors are the SDK's own.
"""

import queue
import threading
from collections.abc import Iterator
from typing import Any

import requests
from docker.errors import APIError, ImageNotFound, NotFound

SIGKILLED, SIGTERMED = 137, 143


def conflict(explanation: str) -> APIError:
    """409, as the daemon words it."""
    response = requests.Response()
    response.status_code = 409
    return APIError("conflict", response, explanation)


class FakeContainer:
    """What `create` was told, and a life.

    `looks_until_gone`: its removal is under way already, and done when it has been looked at so often.
    """

    def __init__(self, client: "FakeClient", image: str, pid: int, **options: Any) -> None:
        self.client = client
        self.image = image
        self.options = options
        self.name: str = options["name"]
        self.state = {"Pid": 0, "OOMKilled": False}
        self.is_deaf = False
        self.looks_until_gone: int | None = None
        self.signals: list[str] = []
        self._pid = pid
        self._output: queue.Queue[bytes | None] = queue.Queue()
        self._ended = threading.Event()
        self._status = 0

    @property
    def attrs(self) -> dict[str, Any]:
        return {"State": dict(self.state)}

    def start(self) -> None:
        self.client.answer()
        self.state["Pid"] = self._pid

    def reload(self) -> None:
        if self.looks_until_gone is not None:
            self.looks_until_gone -= 1
            if not self.looks_until_gone:
                self.client.present.remove(self)
        self.client.container(self.name)

    def logs(self, stream: bool, follow: bool) -> Iterator[bytes]:
        assert (stream, follow) == (True, True)
        yield from iter(self._output.get, None)

    def wait(self) -> dict[str, int]:
        self._ended.wait(20)
        self.client.container(self.name)
        return {"StatusCode": self._status}

    def kill(self, signal: str) -> None:
        self.client.answer()
        self.signals.append(signal)
        if not self.is_deaf:
            self.end(SIGTERMED)

    def remove(self, force: bool, v: bool) -> None:
        assert (force, v) == (True, True)
        self.client.answer()
        if self.looks_until_gone is not None:
            raise conflict(f"removal of container {self.name} is already in progress")
        self.client.present.remove(self)
        self.end(SIGKILLED)

    # -- what tests do

    def write(self, text: bytes) -> None:
        self._output.put(text)

    def end(self, status: int, out_of_memory: bool = False) -> None:
        """As the program's own end, a kill, or `docker kill` show themselves."""
        self.state["OOMKilled"] = self.state["OOMKilled"] or out_of_memory
        self._status = status
        self._ended.set()
        self._output.put(None)


class FakeClient:
    """docker.DockerClient. `present`: the containers that exist; `made`: all that ever did; `known`: the images."""

    def __init__(self, *images: str) -> None:
        self.known = set(images)
        self.present: list[FakeContainer] = []
        self.made: list[FakeContainer] = []
        self.is_broken = False
        self.images = _Images(self)
        self.containers = _Containers(self)

    def answer(self) -> None:
        if self.is_broken:
            raise APIError("the daemon is ill")

    def container(self, name: str) -> FakeContainer:
        self.answer()
        found = [container for container in self.present if container.name == name]
        if not found:
            raise NotFound(f"No such container: {name}")
        return found[0]


class _Images:
    def __init__(self, client: FakeClient) -> None:
        self._client = client

    def get(self, name: str) -> str:
        self._client.answer()
        if name not in self._client.known:
            raise ImageNotFound(f"No such image: {name}")
        return name


class _Containers:
    def __init__(self, client: FakeClient) -> None:
        self._client = client

    def create(self, image: str, **options: Any) -> FakeContainer:
        self._client.answer()
        assert all(container.name != options["name"] for container in self._client.present), "the name is in use"
        made = FakeContainer(self._client, image, 1000 + len(self._client.made), **options)
        self._client.present.append(made)
        self._client.made.append(made)
        return made

    def get(self, name: str) -> FakeContainer:
        return self._client.container(name)

    def list(self, all: bool, filters: dict[str, list[str]]) -> list[FakeContainer]:  # noqa: A002 - the SDK's name
        assert all
        self._client.answer()
        wanted = {tuple(pair.split("=", 1)) for pair in filters["label"]}
        return [c for c in self._client.present if wanted <= set(c.options["labels"].items())]
