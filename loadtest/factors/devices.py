"""Device management: what is taken of a GPU at the start, and what happens when one is asked for and not there."""

from collections.abc import Iterator

from loadtest.factors.rows import FRAMEWORKS, Row
from loadtest.factors.workplace import Workplace

NAME = "device management"
TIMEOUT_S = 180.0


def measure(workplace: Workplace) -> Iterator[Row]:
    """Rows of both frameworks: with the machine's GPU as it is, and with it hidden."""
    for framework in FRAMEWORKS:
        yield from workplace.measure_one(NAME, framework, "gpu_memory", TIMEOUT_S)
        yield from workplace.measure_one(NAME, framework, "fallback", TIMEOUT_S, {"CUDA_VISIBLE_DEVICES": ""})
