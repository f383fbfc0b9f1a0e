"""Training: time and accuracy of the same network by both of this repository's loops."""

from collections.abc import Iterator

from loadtest.factors.rows import Row
from loadtest.factors.workplace import Workplace

NAME = "training"
TIMEOUT_S = 600.0


def measure(workplace: Workplace) -> Iterator[Row]:
    """Rows of both frameworks, each measured by a process of its own."""
    return workplace.measure(NAME, "training", TIMEOUT_S)
