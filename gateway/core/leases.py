"""A lease is a request's hold on one version on one engine; a version is unloaded only when it has none.

Rules: taken before a request is queued, on every engine that may come to answer it, and given back exactly once however
the request ends. Knows no engine.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Leases:
    """The holds on one version on one engine."""

    def __init__(self) -> None:
        self._count = 0

    @property
    def count(self) -> int:
        return self._count

    def take(self) -> None:
        """Hold the version."""
        self._count += 1

    def give_back(self) -> None:
        """End a hold."""
        self._count -= 1


@contextmanager
def hold_all(held: Iterable[Leases]) -> Iterator[None]:
    """Hold a version on several engines while the block runs."""
    taken = tuple(held)
    for leases in taken:
        leases.take()
    try:
        yield
    finally:
        for leases in taken:
            leases.give_back()
