"""A lease is a request's hold on one version on one engine; a version is unloaded only when it has none.

Rules: taken before a request is queued, given back exactly once however the request ends. Once closed no new hold is
given, so a count that has reached zero stays there. Knows no engine.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class LaneClosed(Exception):
    """The version is leaving this engine; somebody else must answer."""


class Leases:
    """The holds on one version on one engine."""

    def __init__(self) -> None:
        self._count = 0
        self._is_closed = False

    @property
    def count(self) -> int:
        return self._count

    def close(self) -> None:
        """Give no more holds."""
        self._is_closed = True

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the version while the block runs. Raises LaneClosed."""
        if self._is_closed:
            raise LaneClosed
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
