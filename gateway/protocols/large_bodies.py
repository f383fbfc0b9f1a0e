"""What large bodies of a dialect take, done in a thread, so that the event loop can serve others meanwhile.

Rules: one piece at a time, in the order they came; in Python several would only be in each other's way. How many wait
is bounded, and how long: what holds a request's bytes must not pile up behind the slowest.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from gateway.core.errors import DeadlineExceeded, Overloaded

MOST_WAITING = 64
LARGE_STRINGS_BYTES = 64 * 1024
"""From here on BYTES tensors are read in a thread: each element is an object, so that 16 MiB can take a second."""

T = TypeVar("T")


class LargeBodies:
    """Takes pieces of work; `timeout_s` is how long each may wait and work in all."""

    def __init__(self, timeout_s: float, most_waiting: int = MOST_WAITING) -> None:
        self._timeout_s = timeout_s
        self._most_waiting = most_waiting
        self._waiting = 0
        self._turn = asyncio.Lock()

    async def take(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises. Raises Overloaded when too many wait, DeadlineExceeded."""
        if self._waiting >= self._most_waiting:
            raise Overloaded(f"expected at most {self._most_waiting} large bodies to wait for being read: one too many")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._work(work)
        except TimeoutError as error:
            raise DeadlineExceeded(f"a large body could not be read within {self._timeout_s:g} s") from error

    async def finish(self, work: Callable[[], T]) -> T:
        """The same without either bound, for what must be done because of work that was taken."""
        return await self._work(work)

    async def _work(self, work: Callable[[], T]) -> T:
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        # A thread cannot be stopped: its turn is over when it is, whether or not anybody waits for it.
        working = asyncio.ensure_future(asyncio.to_thread(work))
        working.add_done_callback(lambda _: self._turn.release())
        return await asyncio.shield(working)
