"""How many calls of a kind may be open at once.

Calls that mostly wait (watches, reflection, streams) cost next to nothing, but each holds one of the calls that the
server takes at all. With seats of their own they cannot take the place of inference.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.core.errors import Overloaded

MOST_STREAMS = 1024
MOST_WATCHES = 256


class Seats:
    """`most` at once of what is called `what`."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._taken = 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a seat while the block runs. Raises Overloaded when there is none."""
        if self._taken >= self._most:
            raise Overloaded(f"expected at most {self._most} {self._what} at once: no other is taken now")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
