"""Carries out a plan: who is asked when, and what is done with a slot that does not count.

It decides nothing about what the trials say, and knows nothing of HTTP: a meter gives it trials.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from loadtest.compare.plan import Side, Sizes, alternate, plan_pairs
from loadtest.compare.slo import LoadPoint, Search, judge
from loadtest.compare.statistics import warm_up_end
from loadtest.compare.timeline import SwapTimeline
from loadtest.compare.trials import Load, Trial, find_reason_to_reject

CAPACITY_CONNECTIONS = 16
SHARE_OF_CAPACITY = 0.5
_SEARCH_FROM = 0.41  # four ramps below what closed loops reached
_LEAST_WARM_UP = 0.1
_MOST_WARM_UP = 0.4


class Meter(Protocol):
    """Measures one stretch of load against a subject, by its name."""

    async def measure(self, subject: str, load: Load) -> Trial: ...


class Interrupted(Exception):
    """Somebody asked to end."""


@dataclass(frozen=True)
class PairOfTrials:
    """Two slots, one after the other, with the same arrivals. `rejected`: why it does not count."""

    a: Trial
    b: Trial
    order: str
    rejected: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Names:
    """Subjects by name; `direct` is None where the engines are reached through the gateway alone."""

    gateway: dict[Side, str]
    direct: dict[Side, str] | None = None


@dataclass(frozen=True)
class Wish:
    """What a user may set. `rate_per_s` None: half of what the slower engine can do."""

    seed: int
    slo_ms: float
    rate_per_s: float | None = None


@dataclass
class Measured:
    """What there is so far; all of it stays when a run is interrupted."""

    capacity_per_s: dict[Side, float] = field(default_factory=dict)
    rate_per_s: float = 0.0
    warm_up_s: float = 0.0
    noise: list[PairOfTrials] = field(default_factory=list)
    gateway: list[PairOfTrials] = field(default_factory=list)
    direct: list[PairOfTrials] = field(default_factory=list)
    points: dict[Side, list[LoadPoint]] = field(default_factory=lambda: {Side.A: [], Side.B: []})
    cut_short: list[Side] = field(default_factory=list)
    is_interrupted: bool = False
    swaps: SwapTimeline | None = None
    swaps_left_out: str = ""
    mirrored: int = 0


Say = Callable[[str, float], None]
"""Is told what begins, and how many seconds of the plan it takes."""


class Runner:
    """One run. `say` is told of every step; `interrupted` ends the run, keeping what was measured."""

    def __init__(
        self, meter: Meter, names: Names, sizes: Sizes, wish: Wish, say: Say, interrupted: asyncio.Event
    ) -> None:
        self._meter = meter
        self._names = names
        self._sizes = sizes
        self._wish = wish
        self._say = say
        self._interrupted = interrupted
        self.measured = Measured()

    async def run(self) -> Measured:
        """What was measured; `is_interrupted` says whether it is all. Raises what the meter does."""
        began_at = asyncio.get_running_loop().time()
        try:
            await self._find_rate()
            await self._warm_up()
            await self._run_noise()
            await self._run_pairs("gateway", self._names.gateway, self._sizes.pairs, self.measured.gateway, 1)
            if self._names.direct:
                for name in self._names.direct.values():
                    await self._slot(name, "warm-up of direct", 0)
                pairs = self._sizes.direct_pairs
                await self._run_pairs("direct", self._names.direct, pairs, self.measured.direct, 2)
            if self._sizes.slo_s:
                await self._search_both(began_at + self._sizes.budget_s)
        except Interrupted:
            self.measured.is_interrupted = True
        return self.measured

    async def _measure(self, subject: str, load: Load, what: str) -> Trial:
        self._say(what, load.duration_s)
        measuring = asyncio.ensure_future(self._meter.measure(subject, load))
        waiting = asyncio.ensure_future(self._interrupted.wait())
        try:
            await asyncio.wait({measuring, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if self._interrupted.is_set():
                raise Interrupted
            return measuring.result()
        finally:
            for task in (measuring, waiting):
                task.cancel()
            await asyncio.gather(measuring, waiting, return_exceptions=True)

    async def _find_rate(self) -> None:
        load = Load(self._sizes.capacity_s, connections=CAPACITY_CONNECTIONS)
        for side, name in self._names.gateway.items():
            trial = (await self._measure(name, load, f"what {name} can do")).after(load.duration_s / 2)
            self.measured.capacity_per_s[side] = len(trial.answered) / trial.seconds
        slowest = min(self.measured.capacity_per_s.values())
        self.measured.rate_per_s = self._wish.rate_per_s or float(f"{max(1.0, SHARE_OF_CAPACITY * slowest):.2g}")

    async def _warm_up(self) -> None:
        """One slot each that counts for nothing but the length of the warm-up, which from then on is fixed."""
        ends = []
        for name in self._names.gateway.values():
            trial = await self._slot(name, f"warm-up of {name}", 0)
            order = trial.latency_s < float("inf")
            ends.append(warm_up_end(trial.due_s[order], trial.latency_s[order]))
        slot_s = self._sizes.slot_s
        self.measured.warm_up_s = round(min(max(*ends, _LEAST_WARM_UP * slot_s), _MOST_WARM_UP * slot_s), 2)

    async def _slot(self, name: str, what: str, number: int) -> Trial:
        seed = self._wish.seed * 1_000_003 + number
        return await self._measure(name, Load(self._sizes.slot_s, self.measured.rate_per_s, seed), what)

    async def _run_noise(self) -> None:
        """Each engine against itself, in turn: whatever this finds is noise."""
        choices = alternate(tuple(self._names.gateway.values()), self._sizes.noise_pairs)
        for number, order in enumerate(plan_pairs(self._sizes.noise_pairs, self._wish.seed)):
            names = dict.fromkeys(Side, choices[number])
            await self._pair(f"A/A pair {number + 1} of {len(choices)}", names, order, self.measured.noise, number)

    async def _run_pairs(
        self, what: str, names: dict[Side, str], count: int, into: list[PairOfTrials], stream: int
    ) -> None:
        for number, order in enumerate(plan_pairs(count, self._wish.seed + stream)):
            await self._pair(f"{what} pair {number + 1} of {count}", names, order, into, 1000 * stream + number)

    async def _pair(
        self, what: str, names: dict[Side, str], order: Sequence[Side], into: list[PairOfTrials], number: int
    ) -> None:
        """Both slots have the same arrivals, so that chance in them is no difference."""
        trials = {}
        for side in order:
            trial = await self._slot(names[side], f"{what}: {names[side]}", number + 1)
            trials[side] = trial.after(self.measured.warm_up_s)
        reasons = [(names[side], why) for side in order if (why := find_reason_to_reject(trials[side]))]
        into.append(PairOfTrials(trials[Side.A], trials[Side.B], "".join(order), tuple(reasons)))

    async def _search_both(self, ends_at: float) -> None:
        now = asyncio.get_running_loop().time()
        await self._search(Side.A, now + (ends_at - now) / 2)
        await self._search(Side.B, ends_at)

    async def _search(self, side: Side, ends_at: float) -> None:
        name = self._names.gateway[side]
        points = self.measured.points[side]
        search = Search(_SEARCH_FROM * self.measured.capacity_per_s[side] or 1.0, self._sizes.fails_needed)
        while (rate := search.next_rate(points)) is not None:
            # A trial must be long enough for a bound of its p99: 299 requests at least, and its warm-up.
            length_s = max(self._sizes.slo_s, 400 / rate) + self.measured.warm_up_s
            if asyncio.get_running_loop().time() + length_s > ends_at:
                self.measured.cut_short.append(side)
                return
            load = Load(length_s, rate, self._wish.seed + len(points))
            what = f"{name} at {rate:.0f} a second, SLO {self._wish.slo_ms:g} ms"
            points.append(
                judge((await self._measure(name, load, what)).after(self.measured.warm_up_s), self._wish.slo_ms)
            )
