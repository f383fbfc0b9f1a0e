"""No container outlives `up` unsaid: one that was about to start when it was killed, one that cannot be removed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.addresses import Ports
from tests.platform_process import free_ports, wait_until
from tests.unit.twinserve.docker_over_tcp import stuck_daemon
from tests.unit.twinserve.fake_docker import FakeClient
from twinserve import up
from twinserve.child import ChildPlan
from twinserve.docker_daemon import Daemon
from twinserve.log_file import LogFile
from twinserve.places import Places
from twinserve.plans import EnginePlans

NAME = "twinserve-torchserve-1234"
STARTER = f"""
import sys, threading
from pathlib import Path
from twinserve.child_life import Limits
from twinserve.container import ContainerPlan
from twinserve.docker_daemon import ContainerSpec, Daemon
from twinserve.lifeline import Lifeline
from twinserve.log_file import LogFile
from twinserve.supervisor import Supervisor

spec = ContainerSpec("{NAME}", "image", {{}}, (), {{}}, "1:1", {{}}, "1g")
log = LogFile(Path(sys.argv[1]))
plan = ContainerPlan("torchserve", spec, Daemon.connect(), log, lambda: True, lambda: True)
with Lifeline() as lifeline, Supervisor(threading.Event(), lifeline, print, Limits()) as supervisor:
    supervisor.start(plan)
"""


def test_one_that_was_being_started_goes_with_a_killed_supervisor(tmp_path: Path) -> None:
    """The daemon has made it, and is yet to say so: nobody but the lifeline can know its name."""
    with stuck_daemon() as daemon:
        command = [sys.executable, "-c", STARTER, str(tmp_path / "log")]
        with subprocess.Popen(command, env={**os.environ, "DOCKER_HOST": daemon.url}) as starter:
            try:
                wait_until(lambda: daemon.made == [NAME], 30, "it is being made")
            finally:
                starter.kill()
        wait_until(lambda: daemon.made == [], 30, "it is removed")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeClient]:
    """`run_up` with containers that are ready at once, a gateway that only waits, and nothing to publish."""
    client = FakeClient("twinserve-torchserve:local", "twinserve-tfserving:local")

    def gateway_plan(places: Places, ports: Ports, engines: EnginePlans) -> ChildPlan:
        command = (sys.executable, "-c", "import signal; signal.pause()")
        return ChildPlan("gateway", command, LogFile(places.logs / "gateway.log"), lambda: True, lambda: True)

    def is_up(port: int) -> object:
        return lambda: True

    monkeypatch.setattr(Daemon, "connect", classmethod(lambda cls: Daemon(client)))
    monkeypatch.setattr("twinserve.engine_containers.answers_http_at_all", is_up)
    monkeypatch.setattr(up, "publish_shipped", lambda repository, say: None)
    monkeypatch.setattr(up, "gateway_plan", gateway_plan)
    for name in ("TWINSERVE_TAG", "TWINSERVE_TFSERVING_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield client
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("is_broken", [False, True])
def test_up_ends_well_only_when_all_containers_are_removed(
    tmp_path: Path, client: FakeClient, monkeypatch: pytest.MonkeyPatch, is_broken: bool
) -> None:
    monkeypatch.setattr("twinserve.supervisor.STOP_TIMEOUT_S", 0.2)
    monkeypatch.setattr("twinserve.container.LAST_WORDS_S", 0.2)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "Ctrl-C stops" in line:
            client.is_broken = is_broken
            signal.raise_signal(signal.SIGTERM)

    repository = tmp_path / "repository"
    repository.mkdir()
    places = Places(tmp_path / "home", repository, tmp_path / "home" / "admin-token")
    code = up.run_up(places, free_ports(), up.EnginesIn.DOCKER, 30, say)
    if not is_broken:
        assert (code, said[-1], client.present) == (0, "stopped", [])
        return
    names = [made.name for made in client.made]
    assert code == 1
    assert said[-1] == f"stopped, but {', '.join(sorted(names, reverse=True))} could not be removed"
    for name in names:
        assert any(f"Docker cannot remove {name}: the daemon is ill" in line for line in said)
