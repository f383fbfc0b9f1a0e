"""The course of a bench: tune TorchServe, then one run after the other, and keep what was measured."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from loadtest.bench.cases import Case
from loadtest.bench.comparisons import spread_of
from loadtest.bench.figures import Figures
from loadtest.bench.meter import Meter
from loadtest.bench.plan import Lengths, Plan, WarmKey, reckon_steps_s, tuned_at, warm_key
from loadtest.bench.results import ComparisonResult, Run
from loadtest.bench.rounds import Round, Step
from loadtest.bench.stage import Stage
from loadtest.bench.tuning import tune

Say = Callable[[str], None]


@dataclass
class Program:
    """Runs what was planned; `runs` and `tuning` hold what was measured so far, whenever it is interrupted."""

    plan: Plan
    lengths: Lengths
    say: Say
    runs: list[Run] = field(default_factory=list)
    tuning: dict[str, dict[str, float]] = field(default_factory=dict)
    _rounds: dict[tuple[Round, int], dict[Case, Figures]] = field(default_factory=dict)
    _capacities: dict[WarmKey, float] = field(default_factory=dict)

    def run(self, stage: Stage, meter: Meter) -> None:
        """Raises GeneratorFailed, NotStarted, OSError, ValueError."""
        self._tune(stage, meter)
        pace, steps = Pace(), self.plan.steps
        for at, step in enumerate(steps):
            left_s = pace.left_s(reckon_steps_s(steps[at:], self.lengths, self._capacities))
            alone_s = reckon_steps_s([step], self.lengths, self._capacities)
            part = "sweep" if step.number is None else f"pair {step.number + 1}"
            self.say(f"[{at + 1}/{len(steps)}, {clock(left_s)} left] {part}: {step.case}")
            begun = time.monotonic()
            figures = self._measure(stage, meter, step)
            pace.note(alone_s, time.monotonic() - begun)
            self.runs.append(Run(step.case, figures, step.number))
            if step.number is not None:
                self._rounds.setdefault((step.round, step.number), {})[step.case] = figures

    def results(self) -> tuple[ComparisonResult, ...]:
        """What the whole pairs say so far, for each comparison that has one."""
        found = []
        for comparison in self.plan.comparisons:
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
        for connections in tuned_at(self.plan, is_quick=self.lengths.is_quick):
            self.say(f"TorchServe alone: looking for its best settings at {connections} connections")
            tried = tune(stage, meter, connections, self.lengths.tuning_s, is_quick=self.lengths.is_quick)
            self.tuning[str(connections)] = {f"{b.size}/{b.delay_ms}": value for b, value in tried.items()}

    def _measure(self, stage: Stage, meter: Meter, step: Step) -> Figures:
        case, key = step.case, warm_key(step.case)
        warmup_s = self.lengths.warmup_of(case, self._capacities)
        rate = self._capacities[key] * case.share if case.share else None
        figures = meter.run(case, stage.where(case), self.lengths.seconds_of(step), warmup_s, rate)
        if rate is None:
            self._capacities[key] = max(1.0, figures.requests_per_s)
        return figures


@dataclass
class Pace:
    """How long things take against what was reckoned: the machine at hand may be slower."""

    reckoned_s: float = 0.0
    taken_s: float = 0.0

    def note(self, reckoned_s: float, taken_s: float) -> None:
        """Something reckoned at so many seconds took so many."""
        self.reckoned_s += reckoned_s
        self.taken_s += taken_s

    def left_s(self, reckoned_s: float) -> float:
        """Seconds that something will take."""
        return reckoned_s * (self.taken_s / self.reckoned_s if self.reckoned_s else 1.0)


def clock(seconds: float) -> str:
    """Minutes and seconds: 2:05."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
