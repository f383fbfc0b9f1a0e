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
        self.id = f"id of {self.name}"
        self.state = {"Pid": 0, "OOMKilled": False, "Status": "created"}
        self.is_deaf = False
        self.starts = 0
        self.looks_until_gone: int | None = None
        self.signals: list[str] = []
        self._pid = pid
        self._output: queue.Queue[bytes | None] = queue.Queue()
        self._ended = threading.Event()
        self._status = 0

    @property
    def attrs(self) -> dict[str, Any]:
        return {"State": dict(self.state), "Config": {"Labels": self.options.get("labels", {})}}

    def start(self) -> None:
        self.client.answer()
        if self.client.refused_starts:
            self.client.refused_starts -= 1
            raise conflict("the port is taken")
        self.state.update(Pid=self._pid, Status="running")
        self.starts += 1
        self.client.tell(self, "start")

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
    """docker.DockerClient. `present`: the containers that exist; `made`: all that ever did; `known`: the images.

    Its clock, `now_s`, stands still but for those who follow the events, whom it takes to the end of their wait.
    """

    def __init__(self, *images: str) -> None:
        self.known = set(images)
        self.present: list[FakeContainer] = []
        self.made: list[FakeContainer] = []
        self.is_broken = False
        self.refused_starts = 0
        self.now_s = 0.0
        self.history: list[dict[str, Any]] = []
        self.images = _Images(self)
        self.containers = _Containers(self)

    def answer(self) -> None:
        if self.is_broken:
            raise APIError("the daemon is ill")

    def container(self, name: str) -> FakeContainer:
        self.answer()
        found = [container for container in self.present if name in (container.name, container.id)]
        if not found:
            raise NotFound(f"No such container: {name}")
        return found[0]

    def tell(self, container: FakeContainer, action: str, **attributes: str) -> None:
        """An event, now."""
        told = {"name": container.name, **container.options.get("labels", {}), **attributes}
        actor = {"ID": container.id, "Attributes": told}
        at_ns = max(round(self.now_s * 1e9), *(event["timeNano"] + 1 for event in self.history), 0)
        self.history.append({"Action": action, "Actor": actor, "timeNano": at_ns})

    def events(self, since: str, until: str, filters: dict[str, Any], decode: bool) -> "_Stream":
        self.answer()
        assert decode
        assert filters["type"] == "container"
        wanted = {tuple(pair.split("=", 1)) for pair in filters["label"]}
        found = [
            event
            for event in self.history
            if event["timeNano"] >= round(float(since) * 1e9)
            and event["Action"] in filters["event"]
            and wanted <= set(event["Actor"]["Attributes"].items())
        ]
        return _Stream(self, found, float(until))


class _Stream:
    def __init__(self, client: FakeClient, events: list[dict[str, Any]], until_s: float) -> None:
        self._client = client
        self._events = events
        self._until_s = until_s

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from self._events
        self._client.now_s = max(self._client.now_s, self._until_s)

    def close(self) -> None:
        """See docker.types.CancellableStream."""


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

    def list(  # the SDK's names
        self,
        all: bool,  # noqa: A002
        filters: dict[str, list[str]],
        ignore_removed: bool = False,
    ) -> list[FakeContainer]:
        assert all
        self._client.answer()
        wanted = {tuple(pair.split("=", 1)) for pair in filters["label"]}
        return [c for c in self._client.present if wanted <= set(c.options["labels"].items())]
