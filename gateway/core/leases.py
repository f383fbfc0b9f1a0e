"""A lease is a request's hold on one version on one engine; a version is unloaded only when it has none.

Rules: taken before a request is queued, given back exactly once however the request ends. Knows no engine.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Leases:
    """The holds on one version on one engine."""

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def count(self) -> int:
        return self._count

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the version while the block runs."""
        self._count += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._count -= 1
            if self._count == 0:
                self._idle.set()

    async def wait_idle(self) -> None:
        """Return once nothing holds the version. New holds must have been stopped before (by routing elsewhere)."""
        await self._idle.wait()
