"""Parity of every format: its answers, once written and loaded, against the reference."""

from collections.abc import Iterator

from loadtest.factors.rows import Row
from loadtest.factors.workplace import Workplace

NAME = "parity"
TIMEOUT_S = 600.0


def measure(workplace: Workplace) -> Iterator[Row]:
    """Rows of both frameworks, each measured by a process of its own."""
    return workplace.measure(NAME, "parity", TIMEOUT_S)
