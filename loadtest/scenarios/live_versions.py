"""Which versions may answer while versions are being swapped: the timeline of who was live. Pure."""

from dataclasses import dataclass, field


@dataclass
class LiveVersions:
    """Points in time are of one clock, and come in ascending order. Empty: any version may answer."""

    changes: list[tuple[float, frozenset[int]]] = field(default_factory=list)

    def may_be(self, at: float, *versions: int) -> None:
        """From now on each of these may answer: one while it is settled, two while a swap is under way."""
        self.changes.append((at, frozenset(versions)))

    def between(self, begins: float, ends: float) -> frozenset[int]:
        """All that may have been live at some moment of a request. Empty when nothing is known of it."""
        if not self.changes or begins < self.changes[0][0]:
            return frozenset()
        found: set[int] = set()
        for at, versions in reversed(self.changes):
            if at <= ends:
                found |= versions
            if at <= begins:
                break
        return frozenset(found)
