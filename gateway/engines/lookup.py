"""The addresses of a host's name, looked up beside everything else.

Rules: a lookup that hangs holds up nobody: it is waited for only so long, and no other one of its name begins before it
has ended, since each takes a thread.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable

Resolve = Callable[[str], Awaitable[tuple[str, ...]]]
"""Raises OSError when there is no such name."""


class Lookups:
    """Of any names. `patience_s` is how long one is waited for."""

    def __init__(self, resolve: Resolve, patience_s: float = 2.0) -> None:
        self._resolve = resolve
        self._patience_s = patience_s
        self._running: dict[str, asyncio.Future[tuple[str, ...]]] = {}

    async def find(self, name: str) -> tuple[str, ...]:
        """The addresses, in one order. Raises OSError, TimeoutError among them, and when there is none."""
        running = self._running.get(name)
        if running is None:
            running = self._running[name] = asyncio.ensure_future(self._resolve(name))
        done, _ = await asyncio.wait([running], timeout=self._patience_s)
        if not done:
            raise TimeoutError(f"{name} is not found in {self._patience_s:g} s")
        if self._running.get(name) is running:  # both engines may be behind one name, and ask at once
            del self._running[name]
        found = running.result()
        if not found:
            raise OSError(f"{name} has no address")
        return tuple(sorted(set(found)))


async def resolve(name: str) -> tuple[str, ...]:
    """By the system's resolver. Of a name with addresses of both kinds those of version 4 count: they mean the same
    servers. Raises OSError.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a part of it is too long, or empty
        raise OSError(f"{name} is no name: {error}") from error
    kinds = {family for family, *_ in found}
    kind = socket.AF_INET if socket.AF_INET in kinds else socket.AF_INET6
    return tuple(str(address[0]) for family, _, _, _, address in found if family == kind)
