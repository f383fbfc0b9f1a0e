"""What the event loop leaves to a thread: all of it in order, as much as fits, also when it stops."""

import threading
from collections.abc import Sequence

import pytest

from gateway.accounts.late_hand import LateHand
from tests.platform_process import wait_until


class Doer:
    """Does nothing while it is held."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.is_asked = threading.Event()
        self.gate = threading.Event()

    def do(self, things: Sequence[int]) -> None:
        self.is_asked.set()
        assert self.gate.wait(10)
        self.done += things


def test_all_is_done_in_order(caplog: pytest.LogCaptureFixture) -> None:
    doer = Doer()
    doer.gate.set()
    hand = LateHand("numbers", doer.do, gather_s=0)
    hand.start()
    for number in range(2000):
        hand.leave(number)
    wait_until(lambda: len(doer.done) == 2000, 10, "it is done without being closed")
    hand.leave(2000)
    assert hand.close(timeout_s=10)
    assert doer.done == list(range(2001))
    assert hand.dropped == 0
    assert not caplog.records


def test_what_does_not_fit_is_dropped_and_said(caplog: pytest.LogCaptureFixture) -> None:
    doer = Doer()
    hand = LateHand("numbers", doer.do, most_waiting=3, gather_s=0)
    hand.start()
    hand.leave(0)
    assert doer.is_asked.wait(10)
    for number in range(1, 6):
        hand.leave(number)
    assert hand.dropped == 2
    doer.gate.set()
    assert hand.close(timeout_s=10)
    assert doer.done == [0, 1, 2, 3]
    assert [record.getMessage() for record in caplog.records] == ["numbers: 2 were dropped, more than 3 waited"]


def test_closing_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    doer = Doer()
    hand = LateHand("numbers", doer.do, gather_s=0)
    hand.start()
    hand.leave(0)
    assert doer.is_asked.wait(10)
    assert not hand.close(timeout_s=0.01)
    assert "takes too long to stop" in caplog.text
    doer.gate.set()
    assert hand.close(timeout_s=10)


def test_a_bug_ends_nothing_but_its_batch(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []
    is_hit = threading.Event()

    def do(things: Sequence[int]) -> None:
        if 0 in things:
            is_hit.set()
            raise KeyError("a bug")
        done.extend(things)

    hand = LateHand("numbers", do, gather_s=0)
    hand.start()
    hand.leave(0)
    assert is_hit.wait(10)
    hand.leave(1)
    assert hand.close(timeout_s=10)
    assert done == [1]
    assert "a bug lost 1 of numbers" in caplog.text
