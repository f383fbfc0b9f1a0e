"""Which runs a bench has, in order, and how long they take. Pure."""

import enum
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from loadtest.bench.cases import Case, Protocol, TargetName
from loadtest.bench.comparisons import COMPARISONS, PROCESS_COMPARISONS, Comparison
from loadtest.bench.rounds import Step, plan_steps
from loadtest.bench.sweeps import plan_batches, plan_growth, plan_open_loops, plan_protocols


class Part(enum.StrEnum):
    """Parts of a bench; the full one has all of them, in this order."""

    COMPARISONS = "comparisons"
    PROTOCOLS = "protocols"
    GROWTH = "growth"
    BATCHES = "batches"
    PROCESSES = "processes"


_SWEEPS = {Part.PROTOCOLS: plan_protocols, Part.GROWTH: plan_growth, Part.BATCHES: plan_batches}


@dataclass(frozen=True)
class Lengths:
    """How long and how often: whole seconds, as wrk takes them.

    `warms_each_run`: before every run, else only before the first that asks a server for so many rows in a protocol.
    """

    pairs: int
    process_pairs: int
    seconds: int
    sweep_seconds: int
    warmup_s: int
    tuning_s: int
    warms_each_run: bool
    is_quick: bool

    def seconds_of(self, step: Step) -> int:
        """How long a run is measured."""
        return self.seconds if step.round else self.sweep_seconds

    def warmup_of(self, case: Case, warmed: Collection["WarmKey"]) -> int:
        """How long a run warms up before that; `warmed`: what has been asked before."""
        if case.protocol is Protocol.FORWARD or (warm_key(case) in warmed and not self.warms_each_run):
            return 0
        return self.warmup_s


QUICK = Lengths(3, 1, 2, 2, 1, 1, warms_each_run=False, is_quick=True)
FULL = Lengths(5, 2, 4, 3, 1, 2, warms_each_run=True, is_quick=False)

WarmKey = tuple[TargetName, Protocol, int, int | None]


def warm_key(case: Case) -> WarmKey:
    """Cases that are alike in this need no warm-up of their own."""
    return case.target, case.protocol, case.rows, case.processes


@dataclass(frozen=True)
class Plan:
    """What is compared, and all runs in order."""

    comparisons: tuple[Comparison, ...]
    steps: tuple[Step, ...]

    @property
    def targets(self) -> set[TargetName]:
        """What has to be started."""
        return {step.case.target for step in self.steps}

    @property
    def tuned_connections(self) -> set[int]:
        """The numbers of connections that TorchServe alone is asked over."""
        return {step.case.connections for step in self.steps if step.case.target is TargetName.TORCHSERVE}


def make_plan(parts: Collection[Part], lengths: Lengths, names: Collection[str] = ()) -> Plan:
    """`names` are the comparisons to run, all when there are none.

    A case is swept once, whichever parts have it, but for capacities: those are measured right before they are needed.
    """
    chosen = [c for c in COMPARISONS if not names or c.name in names] if Part.COMPARISONS in parts else []
    sweep = [*dict.fromkeys(case for part in _SWEEPS if part in parts for case in _SWEEPS[part]())]
    sweep += plan_open_loops() if Part.PROTOCOLS in parts else ()
    by_processes = PROCESS_COMPARISONS if Part.PROCESSES in parts else ()
    steps = [*plan_steps(chosen, lengths.pairs), *(Step(case) for case in sweep)]
    for comparison in by_processes:  # one at a time, since each number of processes takes a gateway of its own
        steps += plan_steps([comparison], lengths.process_pairs)
    return Plan((*chosen, *by_processes), tuple(steps))


def tuned_at(plan: Plan, *, is_quick: bool) -> list[int]:
    """At which numbers of connections TorchServe's best settings are searched for."""
    asked = plan.tuned_connections
    known = asked & {64} if is_quick and 64 in asked else asked & {64, 256}
    return sorted(known) or sorted(asked)[:1]


START_S = 25.0
"""All servers together, when the shipped versions are published, and their end."""

GATEWAY_START_S = 4.0
"""A gateway beside the platform's, and its end."""

TRY_S = 2.0
"""Of a setting of TorchServe: loading it, unloading it, and a second to warm up."""

_READING_S = 0.25
_GENERATOR_S = 0.7
"""Reading what processes used; and starting a generator of ours, which then waits for its last answers."""


def reckon_tuning_s(plan: Plan, lengths: Lengths) -> float:
    """Seconds of searching for TorchServe's best settings."""
    tries = 5 if lengths.is_quick else 9
    each_s = (tries + 2) * lengths.tuning_s + (tries + 1) * TRY_S
    return each_s * len(tuned_at(plan, is_quick=lengths.is_quick))


def reckon_steps_s(steps: Sequence[Step], lengths: Lengths, warmed: Iterable[WarmKey] = ()) -> float:
    """Seconds that these steps take, one after the other."""
    return sum(_each_s(steps, lengths, set(warmed)))


def _each_s(steps: Sequence[Step], lengths: Lengths, warmed: set[WarmKey]) -> Iterator[float]:
    beside: int | None = None
    for step in steps:
        case = step.case
        yield lengths.warmup_of(case, warmed) + lengths.seconds_of(step) + _READING_S
        if case.protocol in (Protocol.GRPC, Protocol.PREDICT) or case.share:
            yield _GENERATOR_S
        if case.processes not in (None, beside):
            beside = case.processes
            yield GATEWAY_START_S
        warmed.add(warm_key(case))


def reckon_s(plan: Plan, lengths: Lengths) -> float:
    """Seconds of the whole bench on a machine where the shipped versions are published already."""
    return START_S + reckon_tuning_s(plan, lengths) + reckon_steps_s(plan.steps, lengths)
