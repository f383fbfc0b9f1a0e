"""What can be broken in the composed platform, and how it is mended. One thing at a time, the rest is left alone."""

import random
import threading
import time
from collections.abc import Callable

import requests

from tests.composed.balanced_platform import BalancedPlatform
from tests.composed.chaos_account import Event, Excuse
from tests.composed.composed_platform import docker
from tests.platform_process import wait_until

ENGINES = ("torchserve", "tfserving")
START_TIMEOUT_S = 60.0
BREAKS_S = 2.0
"""How long after a gateway's death connections to it may still be found broken: until the balancer has left it out."""


class Breaker:
    """Breaks things of one platform. `excuses` are the broken connections that followed from it."""

    def __init__(self, platform: BalancedPlatform, chance: random.Random) -> None:
        self._platform = platform
        self._chance = chance
        self.excuses: list[Excuse] = []
        self._kinds: dict[str, Callable[[Event], None]] = {
            "engine, kill -9": self._kill,
            "engine, docker kill": self._docker_kill,
            "engine, docker pause": self._pause,
            "engine, network cut": self._cut,
            "repository, disk full": self._fill,
            "gateway, kill -9": self._kill_gateway,
            "gateway, docker kill": self._docker_kill_gateway,
            "gateway, docker restart": self._restart_gateway,
        }

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self._kinds)

    def break_and_mend(self, kind: str) -> Event:
        """Do it, and return once nobody keeps it broken any more."""
        of, what = kind.split(", ")
        target = self._chance.choice(ENGINES) if of == "engine" else of
        event = Event(what, target, time.monotonic())
        self._kinds[kind](event)
        event.mended_at = time.monotonic()
        return event

    def _hold(self) -> None:
        """For as long as an outage may be that nobody has noticed at its beginning and everybody at its end."""
        threading.Event().wait(self._chance.uniform(3, 10))

    # -- engines

    def _kill(self, event: Event) -> None:
        self._platform.kill(event.target)

    def _docker_kill(self, event: Event) -> None:
        docker("kill", self._platform.container(event.target))

    def _pause(self, event: Event) -> None:
        container = self._platform.container(event.target)
        docker("pause", container)
        try:
            self._hold()
        finally:
            docker("unpause", container)

    def _cut(self, event: Event) -> None:
        container, network = self._platform.container(event.target), f"{self._platform.compose.project}_engines"
        docker("network", "disconnect", network, container)
        try:
            self._hold()
        finally:
            docker("network", "connect", "--alias", event.target, network, container)

    # -- the repository

    def _fill(self, event: Event) -> None:
        self._platform.fill_repository()
        try:
            headers = {"Authorization": f"Bearer {self._platform.token}"}
            live = self._platform.state()["models"][0]["live"]
            answer = requests.post(
                f"{self._platform.url}/admin/models/mnist/promote?wait=true",
                json={"version": 3 - live},
                headers=headers,
                timeout=60,
            )
            event.note = f"promote answered {answer.status_code}: {answer.text[:120]}"
            self._hold()
        finally:
            self._platform.free_repository()

    # -- gateways

    def _kill_gateway(self, event: Event) -> None:
        gateway = self._chance.choice(self._platform.gateways)
        script = "read pid _ < /proc/1/task/1/children; kill -9 $pid"
        self._end_gateway(gateway, event, lambda: docker("exec", gateway, "bash", "-c", script, expected=(0, 137)))

    def _docker_kill_gateway(self, event: Event) -> None:
        gateway = self._chance.choice(self._platform.gateways)
        self._end_gateway(gateway, event, lambda: docker("kill", gateway))

    def _end_gateway(self, gateway: str, event: Event, kill: Callable[[], object]) -> None:
        started = self._started_at(gateway)
        begun_at = time.monotonic()
        kill()
        self.excuses.append(Excuse(event.what, begun_at, time.monotonic() + BREAKS_S))
        wait_until(lambda: self._started_at(gateway) > started, START_TIMEOUT_S, "the gateway is started again")

    def _restart_gateway(self, _: Event) -> None:
        docker("restart", "-t", "60", self._chance.choice(self._platform.gateways))

    def _started_at(self, container: str) -> str:
        return docker("inspect", "-f", "{{.State.StartedAt}}", container)
