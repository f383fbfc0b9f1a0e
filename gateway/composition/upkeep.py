"""The background tasks of a gateway process, for as long as it serves."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI

from gateway.composition.core_parts import CoreParts
from gateway.engines.counter_pages import CounterPages
from gateway.engines.finder import Finder
from gateway.grpc_server import GrpcServer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Runs them. `stop` ends the process; it is called when one dies without which nothing can go on.

    Connections are taken once this process is ready, or after `join_timeout_s`.
    """

    core: CoreParts
    finder: Finder
    grpc: GrpcServer
    counters: CounterPages | None
    stop: Callable[[], None]
    join_timeout_s: float

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """From before the first connection until after the last."""
        tasks = self._start()
        try:
            await self.core.keeper.wait_ready(self.join_timeout_s)
            await self.grpc.start()
            yield
        finally:
            await self.grpc.stop()
            for task in tasks:
                task.cancel()
                await asyncio.wait([task])
            await self.core.mirror.close()
            await self.core.keeper.close()
            self.core.peers.close()
            self.core.metrics.flush()

    def _start(self) -> list[asyncio.Task[None]]:
        """Begin all of them; they are ended in the same order."""
        # Rollouts first: they withdraw what is half done while the keeper still follows the repository.
        tasks = [
            asyncio.create_task(self.core.rollouts.run(), name="the owner of rollouts"),
            asyncio.create_task(self.finder.run(), name="the finder of endpoints"),
            asyncio.create_task(self.core.keeper.run(), name="the keeper"),
        ]
        for task in tasks:
            task.add_done_callback(self._notice_death)
        if self.counters is not None:
            tasks.append(asyncio.create_task(self.counters.run(), name="the reader of the engines' own counters"))
            tasks[-1].add_done_callback(_notice_loss)  # no request is the worse for it
        return tasks

    def _notice_death(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.critical("%s died, so the gateway stops", task.get_name(), exc_info=task.exception())
            self.stop()


def _notice_loss(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("%s died; /metrics goes on without them", task.get_name(), exc_info=task.exception())
