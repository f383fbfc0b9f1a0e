"""What one endpoint has to do at the moment, against how much of its share it takes: the least goes first.

Rules: work is counted in rows that wait or are out, over all versions on the endpoint. One that has just come back
begins with a small part of its share, which grows: its caches are cold, and what made it leave may not be over.
Must not know a table or an engine.
"""

from time import monotonic

from gateway.core.batcher import Batcher

FIRST_SHARE = 0.1
"""Of what is the endpoint's in the end, when it comes back."""


class Workload:
    """Of one endpoint, shared by its lanes. `turn` and `spare_turn` say when it was last put first, for the router."""

    __slots__ = ("_batchers", "_began_at", "_grows_s", "spare_turn", "turn")

    def __init__(self) -> None:
        self._batchers: list[Batcher] = []
        self._began_at = 0.0
        self._grows_s = 0.0
        self.turn = 0
        self.spare_turn = 0

    @property
    def outstanding_rows(self) -> int:
        """Rows that the endpoint owes an answer to, or that wait for it in this process."""
        return sum(batcher.outstanding_rows for batcher in self._batchers)

    @property
    def share(self) -> float:
        """How much (0..1) of its share it takes now."""
        if not self._grows_s:
            return 1.0
        grown = (monotonic() - self._began_at) / self._grows_s
        if grown >= 1:
            self._grows_s = 0.0
            return 1.0
        return FIRST_SHARE + (1 - FIRST_SHARE) * grown

    @property
    def cost(self) -> float:
        """What asking it now costs, next to asking another endpoint of the same engine."""
        return (self.outstanding_rows + 1) / self.share

    def begin_slowly(self, grows_s: float) -> None:
        """It has come back: from now on its share grows, for so many seconds."""
        self._began_at = monotonic()
        self._grows_s = grows_s

    def add(self, batcher: Batcher) -> None:
        """Count what waits here, too."""
        self._batchers.append(batcher)

    def remove(self, batcher: Batcher) -> None:
        """Count it no longer."""
        self._batchers.remove(batcher)
