"""The composed platform with two gateways behind the balancer, and its repository on a volume that can be filled."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import requests

from tests.composed.composed_platform import (
    FILES,
    PROJECT,
    READY_TIMEOUT_S,
    ComposedPlatform,
    docker,
    make_compose,
    started,
)
from tests.platform_process import wait_until
from tests.ports import free_port
from tests.served_platform import LEDGER

GATEWAYS = 2
BALANCER_FILES = (*FILES, "docker-compose.balancer.yml", "tests/composed/docker-compose.gateways.yml")
FILLER = "/models/.filler"


class BalancedPlatform(ComposedPlatform):
    """Its `url` and `grpc_address` are the balancer's."""

    @property
    def url(self) -> str:
        """See ServedPlatform."""
        return f"http://127.0.0.1:{self.compose.settings['TWINSERVE_BALANCER_HTTP_PORT']}"

    @property
    def grpc_address(self) -> str:
        """See ServedPlatform."""
        return f"127.0.0.1:{self.compose.settings['TWINSERVE_BALANCER_GRPC_PORT']}"

    @property
    def gateways(self) -> list[str]:
        """The ids of the gateways' containers."""
        return self.containers("gateway")

    def container(self, service: str) -> str:
        """The id of a service's first container."""
        return self.containers(service)[0]

    def address(self, container: str) -> str:
        """A gateway's own URL, past the balancer: by its address on the outer network, which the host reaches too."""
        named = json.loads(docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", container))
        return f"http://{named[f'{self.compose.project}_front']['IPAddress']}:8000"

    def is_healthy(self, container: str) -> bool:
        return docker("inspect", "-f", "{{.State.Running}} {{.State.Health.Status}}", container) == "true healthy"

    def wait_ready(self) -> None:
        """Until every gateway and the balancer are healthy."""
        for container in (*self.gateways, self.container("balancer")):
            wait_until(partial(self.is_healthy, container), READY_TIMEOUT_S, f"{container} healthy")
        assert requests.get(f"{self.url}/v2/health/ready", timeout=10).status_code == 200

    def metrics_of(self, gateway: str) -> str:
        """One gateway's exposition."""
        return requests.get(f"{self.address(gateway)}/metrics", timeout=5).text

    def ledgers(self) -> dict[str, float]:
        """Requests accepted, answered and failed, of all versions on all gateways together."""
        texts = [self.metrics_of(gateway) for gateway in self.gateways]
        return {kind: sum(self.metric(text, f"twinserve_ledger_{kind}_total") for text in texts) for kind in LEDGER}

    def sees(self, gateway: str) -> dict[str, float]:
        """The engines that one gateway says are up (1) or not (0)."""
        return self.up(self.metrics_of(gateway))

    def fill_repository(self) -> None:
        """Until not a byte more goes into its volume."""
        done = self.shell("gateway", f"dd if=/dev/zero of={FILLER} bs=64k; dd if=/dev/zero of={FILLER}2 bs=1")
        assert "No space left" in done.stderr, done.stderr

    def free_repository(self) -> None:
        """Undo `fill_repository`."""
        done = self.shell("gateway", f"rm -f {FILLER} {FILLER}2")
        assert done.returncode == 0, done.stderr

    def roll(self, *services: str) -> subprocess.CompletedProcess[str]:
        """balancer/rolling.sh, as operators call it."""
        environment = {"COMPOSE_PROJECT_NAME": self.compose.project}
        return subprocess.run(
            ["balancer/rolling.sh", *services],
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


@contextmanager
def balanced_platform(folder: Path, **settings: str) -> Iterator[BalancedPlatform]:
    """Start it, from images that are built already; end it afterwards."""
    ports = {f"TWINSERVE_BALANCER_{name}_PORT": str(free_port()) for name in ("HTTP", "GRPC")}
    own = {"TWINSERVE_HTTP_PORT": "0", "TWINSERVE_GRPC_PORT": "0", "TWINSERVE_GATEWAYS": str(GATEWAYS)}
    compose = make_compose({**ports, **own, **settings}, f"{PROJECT}-balanced", BALANCER_FILES)
    with started(BalancedPlatform(compose, folder / "repository", folder / "home")) as platform:
        yield platform
