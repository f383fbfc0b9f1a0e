"""Graph: the same weights run eagerly, as a graph and compiled."""

from collections.abc import Iterator

from loadtest.factors.rows import Row
from loadtest.factors.workplace import Workplace

NAME = "graph"
TIMEOUT_S = 600.0


def measure(workplace: Workplace) -> Iterator[Row]:
    """Rows of both frameworks, each measured by a process of its own."""
    return workplace.measure(NAME, "graphs", TIMEOUT_S)
