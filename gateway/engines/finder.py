"""Finds the endpoints of engines that are known by name, again and again: `docker compose up --scale` and the like.

Rules: an answer replaces the one before; none, or an error, changes nothing, for whoever answers may be restarting too.
New endpoints join before old ones leave, so an engine always has one. Must not know what becomes of an endpoint.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gateway.core.ports import Engine
from gateway.engines.addresses import ServerAddress
from gateway.engines.lookup import Lookups

log = logging.getLogger(__name__)


class Roster(Protocol):
    """Who has to know of endpoints."""

    def knows(self, endpoint: str) -> bool:
        """Whether there is an endpoint of this name."""

    def join(self, engine: Engine) -> None:
        """There is one more. Raises ValueError when there is one of its name."""

    def leave(self, endpoint: str) -> None:
        """It is not there any more."""


@dataclass(frozen=True, slots=True)
class Source:
    """A name that endpoints of `engine` are found by, and what to make of each of its addresses.

    The endpoint of the name itself stands for them until they are found.
    """

    engine: str
    server: ServerAddress
    make: Callable[[ServerAddress], Engine]


class Finder:
    """Follows all names, every `interval_s`."""

    def __init__(self, sources: Sequence[Source], roster: Roster, lookups: Lookups, interval_s: float) -> None:
        self._sources = sources
        self._roster = roster
        self._lookups = lookups
        self._interval_s = interval_s
        self._joined = {source: frozenset({source.server.endpoint(source.engine)}) for source in sources}
        self._complaints: dict[str, str] = {}

    async def run(self) -> None:
        """Look the names up until cancelled."""
        while self._sources:
            await asyncio.gather(*(self._look(source) for source in self._sources))
            await asyncio.sleep(self._interval_s)

    async def _look(self, source: Source) -> None:
        name = source.server.host
        try:
            found = await self._lookups.find(name)
        except OSError as error:
            if self._complaints.get(name) != str(error):  # said once, not in every round
                self._complaints[name] = str(error)
                log.info("%s cannot be looked up: %s", name, error)
            return
        self._complaints.pop(name, None)
        self._follow(source, {server.endpoint(source.engine): server for server in _at(source.server, found)})

    def _follow(self, source: Source, found: dict[str, ServerAddress]) -> None:
        """Have those join that are new, and those leave that came by this name and are not there any more."""
        joined = self._joined[source]
        new = frozenset(endpoint for endpoint in found if not self._roster.knows(endpoint))
        self._joined[source] = (joined & found.keys()) | new
        for endpoint in sorted(new):
            self._roster.join(source.make(found[endpoint]))
        for endpoint in sorted(joined - found.keys()):
            self._roster.leave(endpoint)


def _at(server: ServerAddress, addresses: Sequence[str]) -> list[ServerAddress]:
    return [replace(server, host=address) for address in addresses]
