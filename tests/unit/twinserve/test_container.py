"""Containers as children of the supervisor: followed, started again, replaced, removed. Docker's SDK is a stand-in."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.platform_process import wait_until
from tests.unit.twinserve.fake_docker import SIGKILLED, FakeClient, FakeContainer
from twinserve.child_life import Limits, State
from twinserve.container import ContainerPlan, ContainerRun
from twinserve.docker_daemon import ContainerSpec, Daemon, DockerFailed
from twinserve.lifeline import Lifeline
from twinserve.log_file import LogFile
from twinserve.supervisor import StartError, Supervised, Supervisor

IMPATIENT = Limits(
    first_wait_s=0.01, longest_wait_s=0.02, failed_starts=3, settled_s=0, silence_s=0.3, stop_timeout_s=0.5
)
NAME = "twinserve-torchserve-1234"
IMAGE = "twinserve-torchserve:local"


class Watched:
    """A supervisor with one container, and what it reported."""

    def __init__(self, folder: Path, lifeline: Lifeline) -> None:
        self.client = FakeClient(IMAGE)
        self.said: list[str] = []
        self.is_answering = True
        self.log = folder / "torchserve.log"
        self.supervisor = Supervisor(threading.Event(), lifeline, self.said.append, IMPATIENT)
        spec = ContainerSpec(NAME, IMAGE, {}, (), {}, "1:1", {}, "1g")
        self.plan = ContainerPlan(
            "torchserve", spec, Daemon(self.client), LogFile(self.log), lambda: self.is_answering, lambda: True
        )

    def start(self) -> Supervised:
        child = self.supervisor.start(self.plan)
        assert self.supervisor.wait_ready(10, lambda *_: None)
        return child

    @property
    def newest(self) -> FakeContainer:
        return self.client.made[-1]

    def tend_until(self, condition: Callable[[], bool], what: str) -> None:
        def is_so() -> bool:
            self.supervisor.tend()
            return condition()

        wait_until(is_so, 20, f"{what}; reported: {self.said}")


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with Lifeline() as lifeline:
        watched = Watched(tmp_path, lifeline)
        with watched.supervisor:
            yield watched
        assert watched.client.present == [], "all are removed"


def test_what_it_writes_comes_into_the_log_file(watched: Watched) -> None:
    child = watched.start()
    assert (child.run.container, child.run.pid, child.run.exit_code) == (NAME, 1000, None)
    watched.newest.write(b"Model server ")
    watched.newest.write(b"started.\n")
    wait_until(lambda: child.run.log_tail() == ["Model server started."], 10, "its words")


def test_a_killed_one_is_made_anew(watched: Watched) -> None:
    """As after `docker kill`: Docker leaves it alone, the supervisor does not."""
    child = watched.start()
    watched.newest.write(b"last words\n")
    watched.newest.end(SIGKILLED)
    watched.tend_until(lambda: child.life.restarts == 1 and child.life.state is State.READY, "it is up again")
    assert [len(watched.client.made), len(watched.client.present)] == [2, 1]
    assert child.run.pid == 1001
    assert child.life.last_cause == "somebody killed it, or the kernel did because memory ran out"
    [report] = [line for line in watched.said if "died" in line]
    assert report.startswith("torchserve died with exit code -9: ")
    assert report.endswith("  | last words")


def test_one_that_reached_its_memory_limit_says_so(watched: Watched) -> None:
    child = watched.start()
    watched.newest.end(SIGKILLED, out_of_memory=True)
    watched.tend_until(lambda: child.life.restarts == 1, "it is started again")
    assert child.life.last_cause == "it took more memory than its container may; TWINSERVE_<ENGINE>_MEMORY is the limit"


def test_one_that_does_not_answer_is_replaced(watched: Watched) -> None:
    child = watched.start()
    watched.is_answering = False
    watched.tend_until(lambda: len(watched.client.made) > 1, "it is replaced")
    assert any("torchserve is replaced: it hung" in line for line in watched.said)
    assert child.run.container == NAME
    assert watched.client.made[0] not in watched.client.present


def test_one_that_somebody_removed_comes_back(watched: Watched) -> None:
    child = watched.start()
    watched.newest.remove(force=True, v=True)
    watched.tend_until(lambda: child.life.restarts == 1 and child.life.state is State.READY, "it is up again")


def test_death_before_ready_ends_the_start(watched: Watched) -> None:
    watched.supervisor.start(watched.plan)
    watched.newest.write(b"OSError: [Errno 28] No space left on device\n")
    watched.newest.end(1)
    wait_until(lambda: watched.supervisor.children[0].run.exit_code == 1, 10, "its end")
    with pytest.raises(StartError, match="died with exit code 1: the disk is full"):
        watched.supervisor.wait_ready(10, lambda *_: None)


def test_it_is_asked_to_stop_before_it_is_removed(watched: Watched) -> None:
    child = watched.start()
    first = watched.newest
    watched.supervisor.stop()
    assert first.signals == ["SIGTERM"]
    assert child.run.exit_code == -15
    assert watched.client.present == []


def test_who_does_not_listen_is_removed(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinserve.supervisor.STOP_TIMEOUT_S", 0.2)
    child = watched.start()
    watched.newest.is_deaf = True
    watched.supervisor.stop()
    assert watched.client.present == []
    wait_until(lambda: child.run.exit_code == -9, 10, "its end")


def test_while_the_daemon_is_ill_starting_is_tried_again(watched: Watched) -> None:
    child = watched.start()
    watched.client.is_broken = True
    watched.newest.end(SIGKILLED)
    watched.tend_until(lambda: "could not be started" in (child.life.last_cause or ""), "it cannot be started")
    assert "Docker cannot remove" in (child.life.last_cause or "")
    watched.client.is_broken = False
    watched.tend_until(lambda: child.life.state is State.READY, "it is up again")
    assert len(watched.client.present) == 1, "the old one, which could not be removed, is gone too"


def test_a_first_start_that_fails_raises_and_leaves_nothing(watched: Watched) -> None:
    def refuse() -> None:
        raise DockerFailed("the port is taken")

    create = watched.client.containers.create

    def create_broken(image: str, **options: object) -> FakeContainer:
        made = create(image, **options)
        made.start = refuse  # type: ignore[method-assign]
        return made

    watched.client.containers.create = create_broken  # type: ignore[method-assign]
    with pytest.raises(DockerFailed, match="the port is taken"):
        ContainerRun(watched.plan)
    assert watched.client.present == []


def test_one_that_docker_is_removing_already_is_waited_for(watched: Watched) -> None:
    """As after `docker rm -f`, or a supervisor killed while it removed one: its name is free only when it is gone."""
    watched.start()
    watched.newest.looks_until_gone = 3
    watched.newest.end(SIGKILLED)
    child = watched.supervisor.children[0]
    watched.tend_until(lambda: child.life.restarts == 1 and child.life.state is State.READY, "it is up again")
    assert child.life.failed_starts == 0, "no start has failed"
    assert len(watched.client.present) == 1


def test_a_removal_that_does_not_come_to_an_end_is_told(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinserve.docker_daemon.REMOVAL_TIMEOUT_S", 0.3)
    watched.start()
    watched.newest.looks_until_gone = 10_000
    with pytest.raises(DockerFailed, match=rf"{NAME} is being removed, but is still there after 0\.3 s"):
        ContainerRun(watched.plan)
    watched.newest.looks_until_gone = None


def test_one_that_cannot_be_removed_is_told_and_tried_again(watched: Watched) -> None:
    watched.start()
    watched.client.is_broken = True
    watched.newest.end(SIGKILLED)
    watched.supervisor.stop()
    assert watched.supervisor.left_over == (NAME,)
    assert watched.said[-1] == f"torchserve: Docker cannot remove {NAME}: the daemon is ill; the next start removes it"
    watched.client.is_broken = False
    ContainerRun(watched.plan).kill()
