"""Whose time is over is told so: one timer for all that wait, set for the first deadline among them.

Rules: a deadline is looked for when it may have passed, never before; many that are close to each other are not looked
for one by one. Must not know a batch or an engine.
"""

import asyncio
import math
from collections.abc import Callable, Iterable

from gateway.core.errors import DeadlineExceeded
from gateway.core.ticket import Ticket

TOO_LATE = "the deadline passed before an engine answered"
_PAUSE_S = 0.005


class Expiry:
    """`waiting` are all that may be late, `finish` tells one of them that it is."""

    __slots__ = ("_finish", "_timer", "_waiting")

    def __init__(
        self, waiting: Callable[[], Iterable[Ticket]], finish: Callable[[Ticket, DeadlineExceeded], None]
    ) -> None:
        self._waiting = waiting
        self._finish = finish
        self._timer: asyncio.TimerHandle | None = None

    def expect(self, deadline: float) -> None:
        """Look not later than then, on the event loop's clock."""
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(deadline, self._look)

    def cancel(self) -> None:
        """Nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        nearest = math.inf
        for ticket in self._waiting():
            if ticket.deadline <= now:
                self._finish(ticket, DeadlineExceeded(TOO_LATE))
            elif not ticket.is_over:
                nearest = min(nearest, ticket.deadline)
        if nearest < math.inf:
            self.expect(max(nearest, now + _PAUSE_S))
