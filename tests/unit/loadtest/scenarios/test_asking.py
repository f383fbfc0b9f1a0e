"""The open loop sends each request when it is due, and tells of each that it did not send."""

import gevent
import pytest
from gevent.event import Event

from loadtest.scenarios.asking import OpenLoop, clock

PATIENCE_S = 10.0


class Load:
    """What was sent, by number, and what was refused: when it was due, and why. What is sent ends with `answer`."""

    def __init__(self, most_outstanding: int = 1000) -> None:
        self.sent: list[int] = []
        self.refused: list[tuple[float, str]] = []
        self.stop, self.answer = Event(), Event()
        self.loop = OpenLoop(self._send, self._refuse, most_outstanding)

    def _send(self, number: int, due_at: float) -> None:
        self.sent.append(number)
        self.answer.wait()

    def _refuse(self, due_at: float, why: str) -> None:
        self.refused.append((due_at, why))

    def run(self, arrivals: tuple[float, ...], started_at: float) -> None:
        with gevent.Timeout(PATIENCE_S):
            self.loop.run(arrivals, started_at, self.stop, PATIENCE_S)


@pytest.fixture
def load() -> Load:
    return Load()


def test_what_was_due_long_before_the_stop_is_told(load: Load) -> None:
    load.stop.set()
    load.answer.set()
    started_at = clock() - 10
    load.run((0.0, 1.0, 5.0, 3600.0), started_at)
    assert [due_at - started_at for due_at, _ in load.refused] == pytest.approx([0.0, 1.0, 5.0])
    assert all("fell behind" in why for _, why in load.refused)
    assert load.sent == []


def test_a_generator_that_falls_behind_tells_what_it_owes(load: Load) -> None:
    """The first arrival's greenlet has the processor until the end: the second was due all the while."""
    started_at = clock() - 10

    def hog(number: int, due_at: float) -> None:
        load.sent.append(number)
        load.stop.set()

    load.loop = OpenLoop(hog, load._refuse, 1000)
    load.run((0.0, 1.0, 2.0, 3600.0), started_at)
    assert (load.sent, len(load.refused)) == ([0], 2)


def test_what_was_due_just_before_the_stop_is_sent_yet(load: Load) -> None:
    load.stop.set()
    load.answer.set()
    load.run((0.0, 3600.0), clock())
    assert (load.sent, load.refused) == ([0], [])


def test_what_was_not_due_at_the_stop_is_no_request(load: Load) -> None:
    gevent.spawn(load.stop.set)
    load.run((3600.0,), clock())
    assert (load.sent, load.refused) == ([], [])


def test_what_is_over_the_bound_is_refused() -> None:
    load = Load(most_outstanding=2)
    going = gevent.spawn(load.run, (0.0, 0.0, 0.0), clock())
    with gevent.Timeout(PATIENCE_S):
        while not load.refused:
            gevent.sleep(0)
    load.answer.set()
    going.get(timeout=PATIENCE_S)
    assert (load.sent, [why for _, why in load.refused]) == ([0, 1], ["2 answers were owed"])
