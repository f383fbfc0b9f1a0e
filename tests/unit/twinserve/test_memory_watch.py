"""Small children that grow: measured, told to the gateway by a file, replaced while another stands in."""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.measured_file import MeasuredFile
from tests.platform_process import wait_until
from twinserve.child import ChildPlan
from twinserve.child_life import Limits, State
from twinserve.engine_memory import can_measure
from twinserve.lifeline import Lifeline
from twinserve.log_file import LogFile
from twinserve.memory_guard import MEGABYTE, GatewayWord, GuardLimits
from twinserve.memory_watch import MeasureMore, MemoryWatch
from twinserve.supervisor import Supervised, Supervisor

pytestmark = pytest.mark.skipif(not can_measure(), reason="measured from Linux's /proc")

ENGINES = ("grows", "stays")
# They are ready once they hold what they are to hold: no measurement finds them half grown.
HOLDS = (
    "import pathlib, signal\n"
    "marker = pathlib.Path({marker!r})\n"
    "held = b'x' * ({again} if marker.exists() else {at_first})\n"
    "marker.touch()\n"
    "signal.pause()"
)
BOTH_SERVE = GatewayWord(frozenset(ENGINES), is_loading=False)


@pytest.fixture(autouse=True)
def _measured_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pauses that keep measuring cheap: it is small children that are measured, for a second."""
    monkeypatch.setattr("twinserve.memory_watch.LARGEST_SHARE", 1.0)


class Watched:
    """A supervisor with two children, and the watch over their memory."""

    def __init__(self, folder: Path, supervisor: Supervisor, watch: MemoryWatch, said: list[str]) -> None:
        self.memory = MeasuredFile(folder / "memory.json", dict[str, int])
        self.supervisor = supervisor
        self.watch = watch
        self.said = said

    def child(self, name: str) -> Supervised:
        return next(child for child in self.supervisor.children if child.name == name)

    def tend_until(self, condition: Callable[[], bool], what: str) -> None:
        def is_so() -> bool:
            self.supervisor.tend()
            self.watch.tend()
            return condition()

        wait_until(is_so, 20, f"{what}; reported: {self.said}")


@contextmanager
def watched(
    folder: Path, word: GatewayWord | None, path: Path | None = None, more: MeasureMore = lambda _: None
) -> Iterator[Watched]:
    said: list[str] = []
    limits = GuardLimits({"grows": 100 * MEGABYTE, "stays": 0}, interval_s=0.02, settled_s=0)
    path = path or folder / "memory.json"
    holds = {"grows": (200 * MEGABYTE, MEGABYTE), "stays": (300 * MEGABYTE, 300 * MEGABYTE)}
    with Lifeline() as lifeline, Supervisor(threading.Event(), lifeline, said.append, Limits()) as supervisor:
        for name, (at_first, again) in holds.items():
            marker = folder / f"{name}.grown"
            command = (sys.executable, "-c", HOLDS.format(marker=str(marker), at_first=at_first, again=again))
            supervisor.start(ChildPlan(name, command, LogFile(folder / f"{name}.log"), lambda: True, marker.exists))
        supervisor.wait_ready(30, lambda *_: None)
        with MemoryWatch(supervisor, ENGINES, path, lambda: word, limits, said.append, more) as watch:
            yield Watched(folder, supervisor, watch, said)
        assert not path.exists()


def test_the_one_that_grew_is_replaced_once_and_the_other_is_left_alone(tmp_path: Path) -> None:
    with watched(tmp_path, BOTH_SERVE) as both:
        grows, stays = both.child("grows"), both.child("stays")
        first = {"grows": grows.run.pid, "stays": stays.run.pid}
        both.tend_until(lambda: grows.run.pid != first["grows"] and grows.life.state is State.READY, "a new process")
        assert stays.run.pid == first["stays"]
        assert grows.life.last_cause is not None
        assert grows.life.last_cause.startswith("it took 2")
        assert grows.life.last_cause.endswith(" MB, more than its limit of 100 MB")
        assert grows.life.failed_starts == 0

        both.tend_until(lambda: 0 < both.memory.read().get("grows", 0) < 100 * MEGABYTE, "the new one is measured")
        assert both.memory.read()["stays"] > 300 * MEGABYTE
        assert [line for line in both.said if "to be started afresh" in line] == [
            f"grows is stopped, to be started afresh: {grows.life.last_cause}"
        ]


def test_it_waits_for_the_gateway_and_says_so_once(tmp_path: Path) -> None:
    with watched(tmp_path, word=None) as both:
        pid = both.child("grows").run.pid
        both.tend_until(lambda: both.said != [], "a report")
        rounds = iter(range(20))
        both.tend_until(lambda: next(rounds, None) is None, "more rounds")
        assert len(both.said) == 1
        assert both.said[0].startswith(
            "grows is to be replaced, but not yet: the gateway does not say who could answer meanwhile (it took 2"
        )
        assert both.child("grows").run.pid == pid


def test_a_file_that_cannot_be_written_is_reported_and_the_guard_goes_on(tmp_path: Path) -> None:
    with watched(tmp_path, BOTH_SERVE, tmp_path / "nowhere" / "memory.json") as both:
        pid = both.child("grows").run.pid
        both.tend_until(lambda: both.child("grows").run.pid != pid, "a new process")
        assert "what the engines use cannot be told to the gateway" in both.said[0]


def test_a_system_that_tells_nothing_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinserve.memory_watch.can_measure", lambda: False)
    with watched(tmp_path, BOTH_SERVE) as both:
        assert not both.watch.tend()
        assert both.said == []
        assert not (tmp_path / "memory.json").exists()


def test_the_death_of_the_measuring_thread_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("twinserve.memory_watch.measure", fail)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with watched(tmp_path, BOTH_SERVE) as both:
        both.tend_until(lambda: both.said != [], "a report")
        assert both.said == ["the engines' memory is not measured any more; see the error above"]


def test_what_else_is_measured_is_of_the_same_processes(tmp_path: Path) -> None:
    seen: list[Mapping[str, int]] = []
    with watched(tmp_path, word=None, more=seen.append) as both:
        pids = {name: both.child(name).run.pid for name in ENGINES}
        both.tend_until(lambda: seen != [], "a round")
    assert seen[0] == pids
