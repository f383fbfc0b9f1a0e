"""One stretch of load against one subject, and the rules by which it counts. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import compress

import msgspec
import numpy as np

from loadtest.compare.stages import decode_server_timing
from loadtest.compare.statistics import Floats

MOST_ERRORS = 0.001
LEAST_COMPLETED = 0.99
MOST_LATE = 0.5
NOT_SENT = "not sent: too many answers were owed"
BACKLOG_DEVIATIONS = 2.0
"""Growth of what is owed, in standard deviations of the number of arrivals, from which on it is no chance."""

_FIFTHS = 5
_LEAST_OF_A_FIFTH = 4


class Usage(msgspec.Struct, frozen=True):
    """What `inferences` took: processor seconds by process, resident bytes by root process, of GPUs what NVML tells.

    GPU energy is that of whole devices, whoever used them; GPU memory is that of our processes.
    """

    inferences: int = 0
    cpu_s: Mapping[str, float] = {}
    resident_bytes: Mapping[str, int] = {}
    gpu_memory_bytes: int | None = None
    gpu_energy_j: float | None = None


NO_USAGE = Usage()


@dataclass(frozen=True)
class Load:
    """What is sent: Poisson arrivals at `rate_per_s`, or, where that is None, `connections` that never rest.

    Answers that are owed at the end are waited for, at most `drain_s`.
    """

    duration_s: float
    rate_per_s: float | None = None
    seed: int = 0
    connections: int = 256
    drain_s: float = 5.0


@dataclass(frozen=True)
class Trial:
    """Arrays [N], one entry a request in the order they were due, in seconds; times count from the trial's start.

    `late_s` is how late the client was to hand it over, without any wait for a connection. `latency_s` counts from when
    it was due and is infinite where no good answer came, `outstanding` is how many answers were owed when it was due.
    `timing`: their Server-Timing.
    """

    subject: str
    load: Load
    due_s: Floats
    late_s: Floats
    latency_s: Floats
    outstanding: Floats
    timing: tuple[str, ...] = ()
    failures: Mapping[str, int] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    usage: Usage = NO_USAGE
    from_s: float = 0.0

    def after(self, warm_up_s: float) -> "Trial":
        """The requests that were due from then on."""
        kept = self.due_s >= warm_up_s
        return replace(
            self,
            due_s=self.due_s[kept],
            late_s=self.late_s[kept],
            latency_s=self.latency_s[kept],
            outstanding=self.outstanding[kept],
            timing=tuple(compress(self.timing, kept.tolist())),
            from_s=warm_up_s,
        )

    def used(self, usage: Usage) -> "Trial":
        """The same trial, with what it took."""
        return replace(self, usage=usage)

    @property
    def answered(self) -> Floats:
        """The latencies in seconds of requests that got a good answer, ascending."""
        ordered: Floats = np.sort(self.latency_s[np.isfinite(self.latency_s)])
        return ordered

    @property
    def seconds(self) -> float:
        """How long requests were due."""
        return self.load.duration_s - self.from_s

    @property
    def error_share(self) -> float:
        """Requests without a good answer, of all; 1 when there was none."""
        return 1 - len(self.answered) / len(self.due_s) if len(self.due_s) else 1.0

    def completed_share(self, grace_s: float) -> float:
        """Of the requests due at least `grace_s` before the end, those answered before it; 1 when there is none."""
        early = self.due_s < self.load.duration_s - grace_s
        ended = self.due_s + self.latency_s <= self.load.duration_s
        return float(ended[early].mean()) if early.any() else 1.0

    @property
    def growth(self) -> float:
        """By how much more answers were owed in the last fifth of the requests than in the first, on average."""
        fifth = len(self.outstanding) // _FIFTHS
        if fifth < _LEAST_OF_A_FIFTH:
            return 0.0
        return float(self.outstanding[-fifth:].mean() - self.outstanding[:fifth].mean())

    @property
    def late_p99_s(self) -> float:
        return float(np.quantile(self.late_s, 0.99)) if len(self.late_s) else 0.0

    def stages_ms(self) -> dict[str, Floats]:
        """Arrays [N] by stage, NaN where an answer named none."""
        decoded = [decode_server_timing(text) for text in self.timing]
        names = {name for stages in decoded for name in stages}
        return {name: np.array([stages.get(name, math.nan) for stages in decoded]) for name in names}


def find_reason_to_reject(trial: Trial) -> str:
    """Why a slot of a pair does not count; empty when it does. The rules are written down, not chosen afterwards."""
    answered = trial.answered
    if trial.faults:
        return f"{len(trial.faults)} answers were not right: {trial.faults[0]}"
    why = ", ".join(f"{count} times {name}" for name, count in trial.failures.items())
    if not len(answered):
        return f"nothing was answered ({why})"
    if NOT_SENT in trial.failures:
        return f"a backlog grew until the slot was ended ({why})"
    if trial.error_share > MOST_ERRORS:
        return f"{100 * trial.error_share:.2g} % errors ({why})"
    if trial.load.rate_per_s is not None and trial.growth > BACKLOG_DEVIATIONS * math.sqrt(len(trial.due_s)):
        return f"a backlog grew: {trial.growth:.0f} more answers were owed in the last fifth than in the first"
    p99_s = float(np.quantile(answered, 0.99))
    if trial.late_p99_s > MOST_LATE * p99_s:
        return f"the load generator was late by {1000 * trial.late_p99_s:.1f} ms at p99, half of the latency or more"
    return ""
