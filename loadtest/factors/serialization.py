"""Serialization: size of every format on disk, and how long it takes to load."""

from collections.abc import Iterator

from loadtest.factors.rows import Row
from loadtest.factors.workplace import Workplace

NAME = "serialization"
TIMEOUT_S = 600.0


def measure(workplace: Workplace) -> Iterator[Row]:
    """Rows of both frameworks, each measured by a process of its own."""
    return workplace.measure(NAME, "serialization", TIMEOUT_S)
