"""Reads the engines' own counters every few seconds, beside the requests: what fails is said once and tried again.

Of several gateway processes on a host one reads, and the others tell what it has read: were each to tell what it read
itself, one that read later would be followed by one that read earlier, and a counter that falls looks to Prometheus
like an engine that was started anew. The kernel frees the reader's lock however it ends, and another one reads on.
"""

import asyncio
import fcntl
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import msgspec

from gateway.engines.addresses import ServerAddress
from gateway.engines.counter_sums import CounterSum
from gateway.engines.lookup import Lookups, resolve
from gateway.engines.own_counters import NoCounters, OwnCounters

log = logging.getLogger(__name__)

READ_TIMEOUT_S = 2.0
PAGE_LIMIT_BYTES = 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_NOTHING: Mapping[str, OwnCounters] = {}


@dataclass(frozen=True, slots=True)
class CounterPage:
    """Where an endpoint tells its counters, and how that is read; `read` raises NoCounters.

    Behind a name there may be several, one for each address.
    """

    engine: str
    url: str
    read: Callable[[str], OwnCounters]


class CounterPages:
    """`folder` is shared by the gateway processes of a host; None where there is one only."""

    def __init__(self, pages: Sequence[CounterPage], interval_s: float, folder: Path | None = None) -> None:
        self._pages = pages
        self._interval_s = interval_s
        self._folder = folder
        self._lock: IO[str] | None = None
        self._found = _NOTHING
        self._lookups = Lookups(resolve, READ_TIMEOUT_S)
        self._places: dict[CounterPage, tuple[CounterPage, ...]] = {}
        self._sums: dict[str, CounterSum] = {}
        self._said: dict[str, str] = {}

    def counters(self) -> Mapping[str, OwnCounters]:
        """What was read last, by engine; an engine of which no page could be read is left out."""
        if self._folder is None:
            return self._found
        told = self._told(self._folder)
        try:
            # Whoever reads may stand still, or be unable to write: what is old is not told as if it were new.
            if time.time() - told.stat().st_mtime > 3 * self._interval_s + 2 * READ_TIMEOUT_S:
                return _NOTHING
            return msgspec.json.decode(told.read_bytes(), type=dict[str, OwnCounters])
        except (OSError, msgspec.DecodeError):
            return _NOTHING  # nobody has read any yet

    async def run(self) -> None:
        """Read them until cancelled."""
        connector = aiohttp.TCPConnector(force_close=True, ttl_dns_cache=1)  # a restarted engine closes what is kept
        timeout = aiohttp.ClientTimeout(total=READ_TIMEOUT_S)
        try:
            async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
                while True:
                    if self._is_reader():
                        self._keep(await self._read_all(session))
                    await asyncio.sleep(self._interval_s)
        finally:
            self._found = _NOTHING
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def _is_reader(self) -> bool:
        if self._folder is None or self._lock is not None:
            return True
        try:
            lock = (self._folder / "engines.lock").open("w")
        except OSError as error:
            self._say("lock", f"nobody can read the engines' own counters: {error}")
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return False
        self._lock = lock
        return True

    async def _read_all(self, session: aiohttp.ClientSession) -> Mapping[str, OwnCounters]:
        for page in self._pages:
            await self._look_up(page)
        pages = [place for page in self._pages for place in self._places[page]]
        read = await asyncio.gather(*(self._read(session, page) for page in pages))
        found: dict[str, dict[str, OwnCounters | None]] = {}
        for page, counters in zip(pages, read, strict=True):
            found.setdefault(page.engine, {})[page.url] = counters
        sums = {engine: self._sum(engine).add_up(by_url) for engine, by_url in found.items()}
        return {engine: counters for engine, counters in sums.items() if counters is not None}

    def _sum(self, engine: str) -> CounterSum:
        return self._sums.setdefault(engine, CounterSum())

    async def _look_up(self, page: CounterPage) -> None:
        """Find what is behind a page's name; what was found last holds on while nobody answers."""
        parts = urlsplit(page.url)
        server = ServerAddress(parts.hostname or "", (parts.port or 80,))
        if server.is_literal:
            self._places[page] = (page,)
            return
        try:
            found = await self._lookups.find(server.host)
        except OSError as error:
            self._places.setdefault(page, ())
            self._say(server.host, f"{server.host} cannot be looked up: {error}")
            return
        self._said.pop(server.host, None)
        hosts = [replace(server, host=host).at(0) for host in found]
        self._places[page] = tuple(replace(page, url=urlunsplit(parts._replace(netloc=host))) for host in hosts)

    async def _read(self, session: aiohttp.ClientSession, page: CounterPage) -> OwnCounters | None:
        try:
            counters = page.read(await _fetch(session, page.url))
        except (aiohttp.ClientError, TimeoutError, OSError, NoCounters) as error:
            self._say(page.url, f"{page.engine}'s own counters cannot be read: {str(error) or type(error).__name__}")
            return None
        self._said.pop(page.url, None)
        return counters

    def _keep(self, found: Mapping[str, OwnCounters]) -> None:
        self._found = found
        if self._folder is None:
            return
        path = self._told(self._folder)
        staged = path.with_suffix(".new")
        try:
            staged.write_bytes(msgspec.json.encode(found))
            staged.replace(path)
        except OSError as error:
            self._say("file", f"the engines' own counters cannot be told to other gateway processes: {error}")

    def _told(self, folder: Path) -> Path:
        return folder / "engines.json"

    def _say(self, about: str, what: str) -> None:
        """Once, until it is another thing: an engine that is down is down for many rounds."""
        if self._said.get(about) != what:
            log.info("%s", what)
        self._said[about] = what


async def _fetch(session: aiohttp.ClientSession, url: str) -> str:
    """Raises aiohttp.ClientError, TimeoutError, OSError, NoCounters."""
    async with session.get(url, allow_redirects=False) as response:
        if response.status != 200:
            raise NoCounters(f"{url} answered {response.status}")
        body = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            body += chunk
            if len(body) > PAGE_LIMIT_BYTES:
                raise NoCounters(f"{url} is longer than {PAGE_LIMIT_BYTES} bytes")
    return body.decode("utf-8", "replace")
