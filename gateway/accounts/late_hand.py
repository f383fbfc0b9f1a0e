"""A thread that does with what the event loop leaves it, some at a time.

Rules: to leave something costs the event loop an append. The queue is bounded: what does not fit is dropped, counted,
and said in the log. What is left when it closes is still done.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

MOST_WAITING = 16_384
MOST_AT_ONCE = 512
GATHER_S = 0.2
_SAID_EVERY_S = 10.0

T = TypeVar("T")


class LateHand(Generic[T]):
    """Calls `do` with what was left, in its order. `name` is what the things are called in the log."""

    def __init__(
        self,
        name: str,
        do: Callable[[Sequence[T]], None],
        *,
        most_waiting: int = MOST_WAITING,
        gather_s: float = GATHER_S,
    ) -> None:
        """Of what comes within `gather_s` many are done together."""
        self._name = name
        self._do = do
        self._most_waiting = most_waiting
        self._gather_s = gather_s
        self._waiting: deque[T] = deque()
        self._is_woken = False
        self._work = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._dropped = self._said_dropped = self._in_hand = 0
        self._said_at = -_SAID_EVERY_S

    @property
    def dropped(self) -> int:
        """How many did not fit so far."""
        return self._dropped

    def start(self) -> None:
        """Begin to do."""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def leave(self, thing: T) -> None:
        """To be done later. From one thread only."""
        if len(self._waiting) >= self._most_waiting:
            self._dropped += 1
            return
        self._waiting.append(thing)
        if not self._is_woken:
            self._is_woken = True
            self._work.set()

    def close(self, timeout_s: float) -> bool:
        """Do what is left; False when that takes longer than `timeout_s`. Nothing may be left after it."""
        self._closing.set()
        self._work.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                left = len(self._waiting) + self._in_hand
                log.warning("%s: %d are dropped, it takes too long to stop", self._name, left)
                return False
        return True

    def _run(self) -> None:
        while not self._closing.is_set():
            self._work.wait()
            self._work.clear()
            self._closing.wait(self._gather_s)
            self._is_woken = False  # before the queue is emptied: what is left from now on wakes again
            self._empty()
        self._empty()
        self._say_dropped(is_last=True)

    def _empty(self) -> None:
        while self._waiting:
            things = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE))]
            self._in_hand = len(things)
            try:
                self._do(things)
            except Exception:
                log.exception("a bug lost %d of %s", len(things), self._name)
            self._in_hand = 0
        self._say_dropped(is_last=False)

    def _say_dropped(self, is_last: bool) -> None:
        dropped = self._dropped
        if dropped == self._said_dropped or not (is_last or monotonic() - self._said_at >= _SAID_EVERY_S):
            return
        log.warning(
            "%s: %d were dropped, more than %d waited", self._name, dropped - self._said_dropped, self._most_waiting
        )
        self._said_dropped = dropped
        self._said_at = monotonic()
