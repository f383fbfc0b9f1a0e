"""The course of a bench: tune TorchServe, run the pairs in turn, run the sweep, and keep what was measured."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from loadtest.bench.comparisons import (
    Case,
    Comparison,
    Protocol,
    Round,
    TargetName,
    plan_steps,
    plan_sweep,
    spread_of,
)
from loadtest.bench.figures import Figures
from loadtest.bench.meter import Meter
from loadtest.bench.results import ComparisonResult, Run
from loadtest.bench.stage import Stage
from loadtest.bench.tuning import tune

Say = Callable[[str], None]


@dataclass(frozen=True)
class Lengths:
    """How long and how often: whole seconds, as wrk takes them.

    `warms_each_run`: before every run, else only before the first that asks a server for so many rows in a protocol.
    """

    pairs: int
    seconds: int
    warmup_s: int
    tuning_s: int
    warms_each_run: bool
    is_quick: bool


QUICK = Lengths(pairs=3, seconds=2, warmup_s=1, tuning_s=1, warms_each_run=False, is_quick=True)
FULL = Lengths(pairs=5, seconds=4, warmup_s=1, tuning_s=2, warms_each_run=True, is_quick=False)


def cases_of(comparisons: Sequence[Comparison], *, has_sweep: bool) -> Iterator[Case]:
    """All cases that a program runs."""
    for comparison in comparisons:
        yield from (comparison.a, comparison.b)
    if has_sweep:
        yield from plan_sweep()


@dataclass
class Program:
    """Runs what was chosen; `runs` and `tuning` hold what was measured so far, whenever it is interrupted."""

    comparisons: Sequence[Comparison]
    lengths: Lengths
    has_sweep: bool
    say: Say
    runs: list[Run] = field(default_factory=list)
    tuning: dict[str, dict[str, float]] = field(default_factory=dict)
    _rounds: dict[tuple[Round, int], dict[Case, Figures]] = field(default_factory=dict)
    _capacities: dict[tuple[TargetName, Protocol, int], float] = field(default_factory=dict)

    def run(self, stage: Stage, meter: Meter) -> None:
        """Raises GeneratorFailed, NotStarted, OSError."""
        self._tune(stage, meter)
        steps = list(plan_steps(self.comparisons, self.lengths.pairs))
        sweep = list(plan_sweep()) if self.has_sweep else []
        total, started = len(steps) + len(sweep), time.monotonic()
        for number, step in enumerate(steps, 1):
            self._progress(number, total, started, f"pair {step.number + 1}", step.case)
            figures = self._measure(stage, meter, step.case)
            self.runs.append(Run(step.case, figures, step.number))
            self._rounds.setdefault((step.round, step.number), {})[step.case] = figures
        for number, case in enumerate(sweep, len(steps) + 1):
            self._progress(number, total, started, "sweep", case)
            self.runs.append(Run(case, self._measure(stage, meter, case)))

    def results(self) -> tuple[ComparisonResult, ...]:
        """What the whole pairs say so far, for each comparison that has one."""
        found = []
        for comparison in self.comparisons:
            a, b = comparison.a, comparison.b
            pairs = [(ran[a], ran[b]) for ran in self._rounds.values() if a in ran and b in ran]
            if pairs:
                found.append(
                    ComparisonResult(
                        comparison.name,
                        comparison.says,
                        comparison.aim,
                        comparison.then,
                        comparison.unit,
                        spread_of(comparison, pairs),
                        tuple(a for a, _ in pairs),
                        tuple(b for _, b in pairs),
                    )
                )
        return tuple(found)

    def _tune(self, stage: Stage, meter: Meter) -> None:
        asked = {c.connections for c in cases_of(self.comparisons, has_sweep=self.has_sweep) if _is_tuned(c)}
        tuned = sorted(asked & {64} if self.lengths.is_quick and 64 in asked else asked & {64, 256})
        for connections in tuned or sorted(asked)[:1]:
            self.say(f"TorchServe alone: looking for its best settings at {connections} connections")
            tried = tune(stage, meter, connections, self.lengths.tuning_s, is_quick=self.lengths.is_quick)
            self.tuning[str(connections)] = {f"{b.size}/{b.delay_ms}": value for b, value in tried.items()}

    def _measure(self, stage: Stage, meter: Meter, case: Case) -> Figures:
        key = (case.target, case.protocol, case.rows)
        is_warm = key in self._capacities and not self.lengths.warms_each_run
        warmup_s = 0 if is_warm else self.lengths.warmup_s
        rate = self._capacities[key] * case.share if case.share else None
        figures = meter.run(case, stage.where(case), self.lengths.seconds, warmup_s, rate)
        if rate is None:
            self._capacities[key] = max(1.0, figures.requests_per_s)
        return figures

    def _progress(self, number: int, total: int, started: float, part: str, case: Case) -> None:
        self.say(f"[{number}/{total}, {time.monotonic() - started:.0f} s] {part}: {case}")


def _is_tuned(case: Case) -> bool:
    return case.target is TargetName.TORCHSERVE
