"""From trials to the result: what the numbers say. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loadtest.compare.plan import Side as Place
from loadtest.compare.results import Balance, Capacity, Comparison, Costs, Label, Rejected, Side
from loadtest.compare.runner import Measured, PairOfTrials
from loadtest.compare.slo import LoadPoint, Search, find_knee
from loadtest.compare.stages import Decomposition, decompose
from loadtest.compare.statistics import Floats, Quantile, find_effect, find_quantile
from loadtest.compare.trials import Trial

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
CPU = "CPU per inference"
UPSTREAM = "upstream"
METRICS = (*QUANTILES, "mean", UPSTREAM, CPU)
LEAST_BEYOND = 5
"""So many values of a slot must lie beyond a quantile, or the slot has none: a maximum is no p99.9."""

_CURVE_POINTS = 48
_CURVE_FROM = 1.1
_LITTLE_TOLERANCE = 0.05
_MB = 1e6


@dataclass(frozen=True)
class Terms:
    """What the numbers are held against: the seed of resampling, and a price in any currency."""

    seed: int
    price_per_hour: float | None
    fails_needed: int = 1


def compare_pairs(name: str, planned: int, pairs: Sequence[PairOfTrials], seed: int) -> Comparison:
    """The effect on every metric, of the pairs of which both slots count; on CPU only where it could be read.

    `upstream` is the median time that the gateway waited for the engine; engines asked directly tell none.
    """
    good = [pair for pair in pairs if not pair.rejected]
    left_out = {UPSTREAM} if name == "direct" else set()
    if not any(pair.a.usage.cpu_s for pair in good):
        left_out.add(CPU)
    orders = tuple(pair.order for pair in good)
    effects = {
        metric: find_effect([_metric(metric, p.a) for p in good], [_metric(metric, p.b) for p in good], seed, orders)
        for metric in METRICS
        if metric not in left_out
    }
    return Comparison(name, planned, len(good), effects, orders)


def _metric(metric: str, trial: Trial) -> float:
    """NaN where a slot is too small for it, or where it was not read."""
    latencies_s = trial.answered
    if metric == "mean":
        return float(latencies_s.mean())
    if metric in QUANTILES:
        level = QUANTILES[metric]
        return float(np.quantile(latencies_s, level)) if len(latencies_s) * (1 - level) >= LEAST_BEYOND else math.nan
    if metric == UPSTREAM:
        told_ms = trial.stages_ms().get(UPSTREAM, np.empty(0))
        told_ms = told_ms[np.isfinite(told_ms)]
        return float(np.median(told_ms)) if len(told_ms) else math.nan
    used = trial.usage
    return sum(used.cpu_s.values()) / used.inferences if used.inferences else math.nan


def find_rejected(measured: Measured) -> tuple[Rejected, ...]:
    """Every slot that took its pair with it, and every trial of a search that says nothing."""
    runs = (("noise", measured.noise), ("gateway", measured.gateway), ("direct", measured.direct))
    slots = [
        Rejected(name, number + 1, subject, why)
        for name, pairs in runs
        for number, pair in enumerate(pairs)
        for subject, why in pair.rejected
    ]
    late = [
        Rejected(f"SLO search of {side}", number + 1, f"{point.rate_per_s:.0f} a second", "; ".join(point.why))
        for side, points in measured.points.items()
        for number, point in enumerate(points)
        if point.is_late
    ]
    return (*slots, *late)


def describe_side(side: Place, label: Label, measured: Measured, terms: Terms) -> Side:
    """One engine, over the slots of all pairs that count."""
    pairs = [pair for pair in measured.gateway if not pair.rejected]
    trials = [pair.a if side is Place.A else pair.b for pair in pairs]
    latencies_ms: Floats = np.sort(np.concatenate([t.answered for t in trials])) * 1000 if trials else np.empty(0)
    requests = sum(len(trial.due_s) for trial in trials)
    return Side(
        label=label,
        requests=requests,
        errors=requests - len(latencies_ms),
        mean_ms=float(latencies_ms.mean()) if len(latencies_ms) else None,
        quantiles_ms=tuple(find_quantile(latencies_ms, level) for level in QUANTILES.values()),
        curve_ms=_curve(latencies_ms),
        stages=_stages(trials),
        balance=_balance(trials, terms.seed),
        costs=_costs(trials),
        capacity=_capacity(measured, side, terms),
    )


def _curve(latencies_ms: Floats) -> tuple[Quantile, ...]:
    """Quantiles out to one beyond the last value, evenly on a scale of 1 / (1 - level)."""
    if len(latencies_ms) < 2:
        return ()
    one_in = np.geomspace(_CURVE_FROM, len(latencies_ms), _CURVE_POINTS)
    return tuple(find_quantile(latencies_ms, float(1 - 1 / far)) for far in one_in)


def _stages(trials: Sequence[Trial]) -> Decomposition | None:
    told = [(trial, trial.stages_ms()) for trial in trials]
    names = {name for _, stages in told for name in stages}
    if not names:
        return None
    merged = {
        name: np.concatenate([stages.get(name, np.full(len(trial.due_s), math.nan)) for trial, stages in told])
        for name in names
    }
    latency_ms, late_ms = (
        np.concatenate([getattr(trial, name) for trial, _ in told]) * 1000 for name in ("latency_s", "late_s")
    )
    return decompose(latency_ms, late_ms, merged)


def _balance(trials: Sequence[Trial], seed: int) -> Balance | None:
    """Little's law, L = λW (Little, 1961). Arrivals of a Poisson process see time averages (Wolff, 1982), so what they
    saw owed is L, counted without any latency."""
    if not trials:
        return None
    seen = [float(trial.outstanding.mean()) for trial in trials]
    expected = [_owed_by_latency(trial) for trial in trials]
    effect = find_effect(expected, seen, seed)
    is_near = effect.ratio is not None and abs(effect.ratio - 1) <= _LITTLE_TOLERANCE
    holds = is_near or (effect.low is not None and not effect.excludes_one)
    return Balance(float(np.mean(seen)), float(np.mean(expected)), effect, holds)


def _owed_by_latency(trial: Trial) -> float:
    """Answers a second times mean time since sent: a request that we sent late was not owed before."""
    is_answered = np.isfinite(trial.latency_s)
    waited_s = (trial.latency_s - trial.late_s)[is_answered]
    return len(waited_s) / trial.seconds * float(waited_s.mean())


def _costs(trials: Sequence[Trial]) -> Costs:
    usages = [trial.usage for trial in trials]
    inferences = sum(usage.inferences for usage in usages)
    per_1000 = 1000 / inferences if inferences else 0.0
    names = sorted({name for usage in usages for name in usage.cpu_s})
    cpu = {name: per_1000 * sum(usage.cpu_s.get(name, 0.0) for usage in usages) for name in names}
    energies = [usage.gpu_energy_j for usage in usages]
    memories = [usage.gpu_memory_bytes for usage in usages if usage.gpu_memory_bytes is not None]
    known = [energy for energy in energies if energy is not None]
    return Costs(
        inferences=inferences,
        cpu_s_per_1000=cpu,
        cpu_s_per_1000_in_all=sum(cpu.values()) if cpu else None,
        resident_mb={name: used / _MB for name, used in _most([usage.resident_bytes for usage in usages]).items()},
        gpu_memory_mb=max(memories) / _MB if memories else None,
        gpu_energy_j_per_1000=per_1000 * sum(known) if known and len(known) == len(energies) else None,
    )


def _most(held: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The largest by name."""
    most: dict[str, int] = {}
    for each in held:
        for name, used in each.items():
            most[name] = max(used, most.get(name, 0))
    return most


def _capacity(measured: Measured, side: Place, terms: Terms) -> Capacity:
    points: list[LoadPoint] = measured.points[side]
    low, high = Search(1.0, terms.fails_needed).bracket(points)
    bound = any(point.is_late and point.rate_per_s == high for point in points)
    return Capacity(
        passed_per_s=low,
        failed_per_s=high,
        knee_per_s=find_knee(points),
        is_limited_by_generator=bound,
        is_cut_short=side in measured.cut_short,
        price_per_million=price_per_million(terms.price_per_hour, low),
        price_per_million_at_least=price_per_million(terms.price_per_hour, high),
        points=tuple(sorted(points, key=lambda point: point.rate_per_s)),
    )


def price_per_million(price_per_hour: float | None, rate_per_s: float | None) -> float | None:
    """What a million inferences cost on a machine of that price that is kept at that rate."""
    if price_per_hour is None or not rate_per_s:
        return None
    return price_per_hour / (3600 * rate_per_s) * 1e6
