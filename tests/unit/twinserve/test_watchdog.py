"""The watchdog's loop, with a stand-in for Docker whose clock it moves."""

import pytest

from tests.unit.twinserve.fake_docker import FakeClient, FakeContainer
from twinserve.docker_daemon import Daemon, DockerFailed
from twinserve.watchdog import Watchdog, find_own_project, keep_watching

LABELS = {
    "com.docker.compose.project": "ours",
    "com.docker.compose.oneoff": "False",
    "twinserve.watchdog": "true",
}


class Scene:
    """A daemon with a running container, and the watchdog's words."""

    def __init__(self) -> None:
        self.client = FakeClient()
        self.engine = self.container("engine", LABELS)
        self.said: list[str] = []
        self.watchdog = Watchdog(Daemon(self.client), "ours", self.said.append, lambda: self.client.now_s)

    def container(self, name: str, labels: dict[str, str]) -> FakeContainer:
        made: FakeContainer = self.client.containers.create("image", name=name, labels=labels)
        made.start()
        return made

    def kill(self, container: FakeContainer, signal: int = 9) -> None:
        """As `docker kill` shows itself."""
        self.client.tell(container, "kill", signal=str(signal))
        self.client.tell(container, "die", exitCode=str(128 + signal))
        container.state["Status"] = "exited"

    def stop(self, container: FakeContainer) -> None:
        """As `docker stop` does."""
        self.kill(container, 15)
        self.client.tell(container, "stop")

    def turns(self, count: int = 3) -> None:
        for _ in range(count):
            self.watchdog.turn()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_killed_container_is_started_after_a_moment(scene: Scene) -> None:
    scene.watchdog.begin()
    scene.turns(1)
    scene.kill(scene.engine)
    killed_at = scene.client.now_s
    scene.turns(2)
    assert scene.engine.starts == 2
    assert scene.said == ["watching engine", "engine ended with 137, and nobody had stopped it: started again"]
    assert scene.client.now_s - killed_at < 2
    scene.turns(10)
    assert scene.engine.starts == 2
    assert len(scene.said) == 2


def test_a_stopped_container_is_left_alone_until_it_is_started(scene: Scene) -> None:
    scene.watchdog.begin()
    scene.stop(scene.engine)
    scene.turns(10)
    assert scene.engine.starts == 1
    assert scene.said[1:] == ["engine was stopped: left alone"]
    scene.engine.start()
    scene.kill(scene.engine)
    scene.turns()
    assert scene.engine.starts == 3


@pytest.mark.parametrize(
    "other",
    [
        {"com.docker.compose.project": "theirs"},
        {"com.docker.compose.oneoff": "True"},
        {"twinserve.watchdog": "false"},
    ],
)
def test_other_containers_are_none_of_its_business(scene: Scene, other: dict[str, str]) -> None:
    stranger = scene.container("stranger", {**LABELS, **other})
    scene.watchdog.begin()
    scene.kill(stranger)
    scene.kill(scene.engine)
    scene.turns()
    assert (stranger.starts, scene.engine.starts) == (1, 2)


def test_a_removed_container_is_forgotten(scene: Scene) -> None:
    scene.watchdog.begin()
    scene.kill(scene.engine)
    scene.engine.remove(force=True, v=True)
    scene.turns()
    scene.client.tell(scene.engine, "destroy")
    scene.turns()
    assert scene.engine.starts == 1
    assert scene.said == ["watching engine"]


def test_what_docker_starts_again_by_itself_is_waited_for(scene: Scene) -> None:
    scene.watchdog.begin()
    scene.client.tell(scene.engine, "die", exitCode="1")
    scene.engine.state["Status"] = "restarting"
    scene.turns(5)
    assert scene.engine.starts == 1
    scene.engine.state["Status"] = "exited"  # it has given up
    scene.turns()
    assert scene.engine.starts == 2


def test_a_start_that_is_refused_is_tried_again(scene: Scene) -> None:
    scene.watchdog.begin()
    scene.kill(scene.engine)
    scene.client.refused_starts = 2
    scene.turns(6)
    assert scene.engine.starts == 2
    assert [line.partition(":")[0] for line in scene.said[1:]] == [
        "engine ended with 137 and cannot be started, trying again",
        "engine ended with 137 and cannot be started, trying again",
        "engine ended with 137, and nobody had stopped it",
    ]


def test_what_was_killed_shortly_before_the_start_comes_back(scene: Scene) -> None:
    scene.kill(scene.engine)
    scene.watchdog.begin()
    scene.turns()
    assert scene.engine.starts == 2


def test_what_is_down_for_a_forgotten_reason_stays_down(scene: Scene) -> None:
    """Its exit code does not tell: a `docker stop` that was not obeyed ends with 137 too."""
    scene.kill(scene.engine)
    scene.client.history.clear()
    scene.watchdog.begin()
    scene.turns()
    assert scene.engine.starts == 1
    assert scene.said[1:] == [
        "engine is down, for a reason that Docker no longer tells: left alone until it is started"
    ]


def test_a_lost_daemon_is_asked_again_and_nothing_is_missed(scene: Scene) -> None:
    scene.watchdog.begin()
    scene.client.is_broken = True
    waits: list[float] = []

    class Over(Exception):
        pass

    def pause(wait_s: float) -> None:
        waits.append(wait_s)
        if len(waits) == 3:
            scene.kill(scene.engine)
            scene.client.is_broken = False
        if scene.engine.starts == 2:
            raise Over

    with pytest.raises(Over):
        keep_watching(scene.watchdog, scene.said.append, pause)
    assert waits[:3] == [1, 2, 4]
    assert scene.said[1:] == [
        *(f"Docker cannot follow the events: the daemon is ill; trying again in {wait} s" for wait in (1, 2, 4)),
        "Docker answers again",
        "engine ended with 137, and nobody had stopped it: started again",
    ]


def test_the_project_is_that_of_its_own_container(scene: Scene) -> None:
    daemon = Daemon(scene.client)
    assert find_own_project(daemon, "engine") == "ours"
    for outside in ("some-host", scene.container("alone", {}).name):
        with pytest.raises(DockerFailed, match="--project"):
            find_own_project(daemon, outside)
