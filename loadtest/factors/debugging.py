"""Debugging: whether a breakpoint inside the model stops, and whether values can be read there."""

from collections.abc import Iterator

from loadtest.factors.rows import Row
from loadtest.factors.workplace import Workplace

NAME = "debugging"
TIMEOUT_S = 600.0


def measure(workplace: Workplace) -> Iterator[Row]:
    """Rows of both frameworks, each measured by a process of its own."""
    return workplace.measure(NAME, "debugging", TIMEOUT_S)
