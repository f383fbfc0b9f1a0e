"""Engines that only pretend, in no time: queues with one server, arrivals and service drawn from a seed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from loadtest.compare.statistics import Floats
from loadtest.compare.trials import Load, Trial, Usage

SERVICE_S = 0.003
_CLOSED_LOOP_PER_S = 300.0


def queue_latencies(due_s: Floats, service_s: Floats) -> Floats:
    """Waiting and service [N] of one server that takes requests [N] in turn (Lindley's recursion, unrolled)."""
    finished = np.cumsum(service_s)
    free_at = np.maximum.accumulate(due_s - np.concatenate(([0.0], finished[:-1])))
    latencies: Floats = free_at + finished - due_s
    return latencies


def poisson_due_s(rate_per_s: float, seed: int, duration_s: float) -> Floats:
    """As loadtest.arrivals draws them, in one go."""
    most = int(rate_per_s * duration_s + 10 * (rate_per_s * duration_s) ** 0.5 + 10)
    due_s: Floats = np.cumsum(np.random.default_rng(seed).exponential(1 / rate_per_s, most))
    return due_s[due_s < duration_s]


def trial_of(due_s: Floats, latency_s: Floats, load: Load, subject: str = "x", late_s: float = 0.0) -> Trial:
    """A trial with these latencies; the answers owed are counted as arrivals saw them."""
    ended = np.sort(due_s + latency_s)
    owed = np.arange(len(due_s)) - np.searchsorted(ended, due_s, side="right")
    late = np.full(len(due_s), late_s)
    return Trial(subject, load, due_s, late, latency_s, owed.astype(np.float64))


@dataclass
class SimulatedMeter:
    """`slowed` multiplies an engine's service time. The machine drifts, and every slot has a hand of its own.

    `asked` has who was asked in which order; `broken` numbers of slots, counted from 0, that answer with errors.
    """

    seed: int
    slowed: Mapping[str, float] = field(default_factory=dict)
    slot_noise: float = 0.03
    drift: float = 0.002
    asked: list[str] = field(default_factory=list)
    broken: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        self._generator = np.random.default_rng(self.seed)

    async def measure(self, subject: str, load: Load) -> Trial:
        number = len(self.asked)
        self.asked.append(subject)
        due_s = poisson_due_s(load.rate_per_s or _CLOSED_LOOP_PER_S, load.seed, load.duration_s)
        pace = self.slowed.get(subject, 1.0) * np.exp(self.drift * number + self._generator.normal(0, self.slot_noise))
        service_s = SERVICE_S * pace * self._generator.gamma(16, 1 / 16, len(due_s))
        latency_s = queue_latencies(due_s, service_s)
        if number in self.broken:
            latency_s[::10] = np.inf
        usage = Usage(len(due_s), {subject: float(service_s.sum())})
        return trial_of(due_s, latency_s, load, subject).used(usage)
