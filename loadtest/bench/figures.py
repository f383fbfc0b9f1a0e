"""What one run measured, and what several pairs of runs say together. Pure."""

from collections.abc import Mapping, Sequence
from statistics import median

import msgspec
import numpy as np
from numpy.typing import NDArray

_LEVELS = (0.5, 0.9, 0.99, 0.999)


class Latency(msgspec.Struct, frozen=True):
    """Quantiles of latency in milliseconds; all zero when nothing was answered."""

    p50_ms: float = 0.0
    p90_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0

    @classmethod
    def of(cls, latencies_s: Sequence[float] | NDArray[np.float64]) -> "Latency":
        if not len(latencies_s):
            return cls()
        return cls(*(float(value) for value in np.quantile(np.asarray(latencies_s), _LEVELS) * 1000))


class Figures(msgspec.Struct, frozen=True):
    """One run of a case. `requests` were answered 200 within `seconds`; `errors` are all others, lost ones too.

    `checked` answers were held against known ones, `wrong` of them differed. CPU seconds and resident bytes (PSS where
    the system tells it) are by process, those of the load generator apart from the server's. `other_cores` is what all
    other processes of the machine used meanwhile. `lag_ms` is how late the generator sent what was due, for open loops
    only. `batches` are the calls of the gateway to the engine, with `batched_rows` rows in all, warm-up and samples
    included. `gpu_bytes` is what these processes hold of the GPU's memory, `gpu_card_bytes` what is held of it in all.
    """

    implementation: str
    generator: str
    requests: int
    rows_per_request: int
    seconds: float
    latency: Latency = Latency()
    errors: int = 0
    wrong: int = 0
    checked: int = 0
    faults: tuple[str, ...] = ()
    cpu_s: Mapping[str, float] = {}
    generator_cpu_s: float = 0.0
    resident_bytes: Mapping[str, int] = {}
    rate_per_s: float | None = None
    lag_ms: float | None = None
    other_cores: float = 0.0
    batches: int = 0
    batched_rows: int = 0
    gpu_bytes: int | None = None
    gpu_card_bytes: int | None = None

    @property
    def rows_per_batch(self) -> float | None:
        """None where no gateway batched, or nothing."""
        return self.batched_rows / self.batches if self.batches else None

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def rows_per_s(self) -> float:
        return self.requests_per_s * self.rows_per_request

    @property
    def cpu_s_per_1000(self) -> dict[str, float]:
        """CPU seconds per 1,000 answered requests, by process; empty when none was answered."""
        return {name: 1000 * used / self.requests for name, used in self.cpu_s.items()} if self.requests else {}

    @property
    def generator_cpu_s_per_1000(self) -> float:
        return 1000 * self.generator_cpu_s / self.requests if self.requests else 0.0


def cpu_ratio(a: Figures, b: Figures) -> float | None:
    """Processor seconds an image takes in all processes of A's server, over those of B's."""
    rows_a, rows_b = a.requests * a.rows_per_request, b.requests * b.rows_per_request
    used_a, used_b = sum(a.cpu_s.values()), sum(b.cpu_s.values())
    return (used_a / rows_a) / (used_b / rows_b) if rows_a and rows_b and used_b else None


class Spread(msgspec.Struct, frozen=True):
    """One value a pair, as the middle one and the range; None when there was no pair that has one."""

    values: tuple[float, ...] = ()
    middle: float | None = None
    least: float | None = None
    most: float | None = None

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Spread":
        known = tuple(value for value in values if value is not None)
        return cls(known, median(known), min(known), max(known)) if known else cls()


def throughput_ratio(a: Figures, b: Figures) -> float | None:
    """Rows a second of A over those of B."""
    return a.rows_per_s / b.rows_per_s if b.rows_per_s else None


def p99_ratio(a: Figures, b: Figures) -> float | None:
    """p99 of A over that of B."""
    return a.latency.p99_ms / b.latency.p99_ms if b.latency.p99_ms and a.requests else None


def p50_difference_ms(a: Figures, b: Figures) -> float | None:
    """p50 of A less that of B, in milliseconds."""
    return a.latency.p50_ms - b.latency.p50_ms if a.requests and b.requests else None


def tail(a: Figures, b: Figures) -> float | None:
    """p99 over p50 of A alone; B only told what the capacity is."""
    return a.latency.p99_ms / a.latency.p50_ms if b.requests and a.latency.p50_ms else None
