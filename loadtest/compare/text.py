"""A result for a terminal: the verdict, and the few numbers that most readers look for. Pure."""

from loadtest.compare.results import Result, Side
from loadtest.compare.statistics import Effect, Quantile
from loadtest.compare.timeline import SwapTimeline
from loadtest.compare.verdict import shown


def describe(result: Result) -> str:
    """Lines of text."""
    sides = (result.a, result.b)
    width = max(len(side.label.text) for side in sides)
    head = "interrupted; until then: " if result.is_interrupted else ""
    lines = [head + result.verdict.sentence]
    if result.verdict.noise_percent is not None:
        lines.append(f"noise     an engine may differ from itself by {shown(result.verdict.noise_percent)} % (A/A)")
    if result.verdict.noise_caution:
        lines.append(f"caution   {result.verdict.noise_caution}")
    comparisons = (("gateway", result.gateway), ("direct", result.direct))
    for name, comparison in comparisons:
        if comparison is not None:
            told = "; ".join(f"{metric} {_effect(effect)}" for metric, effect in comparison.effects.items())
            lines.append(f"{name:9} B over A, {comparison.pairs} of {comparison.planned_pairs} pairs: {told}")
    lines += [f"latency   {side.label.text:{width}}  {_latencies(side)}" for side in sides]
    lines += [f"load      {side.label.text:{width}}  {_load(side, result.settings.slo_ms)}" for side in sides]
    lines += [f"costs     {side.label.text:{width}}  {_costs(side)}" for side in sides]
    if result.swaps:
        lines.append(f"swaps     {_swaps(result.swaps)}")
    if result.rejected:
        lines.append(f"rejected  {len(result.rejected)}, first: {result.rejected[0].where}: {result.rejected[0].why}")
    return "\n".join(lines) + "\n"


def _effect(effect: Effect) -> str:
    if effect.ratio is None:
        return "n too small"
    if effect.low is None or effect.high is None:
        return f"{effect.ratio:.2f} ({effect.pairs} pairs: too few)"
    return f"{effect.ratio:.2f} ({effect.low:.2f} to {effect.high:.2f})"


def _latencies(side: Side) -> str:
    names = ("p50", "p90", "p99", "p99.9")
    return ", ".join(f"{name} {_quantile(found)}" for name, found in zip(names, side.quantiles_ms, strict=True)) + " ms"


def _quantile(quantile: Quantile) -> str:
    if quantile.value is None or quantile.low is None or quantile.high is None:
        return "n too small"
    return f"{shown(quantile.value)} ({shown(quantile.low)} to {shown(quantile.high)})"


def _load(side: Side, slo_ms: float) -> str:
    capacity = side.capacity
    if not capacity.points:
        return "not measured"
    if capacity.passed_per_s is None:
        return f"no load passed with p99 within {shown(slo_ms)} ms"
    at_most = f", {shown(capacity.failed_per_s)} did not" if capacity.failed_per_s else ""
    late = "; the load generator was the limit, the engine may do more" if capacity.is_limited_by_generator else ""
    late += "; the search ran out of time" if capacity.is_cut_short else ""
    price = capacity.price_per_million
    costs = f"; {shown(price)} a million" if price is not None else ""
    return f"{shown(capacity.passed_per_s)} a second passed with p99 within {shown(slo_ms)} ms{at_most}{late}{costs}"


def _swaps(timeline: SwapTimeline) -> str:
    report = timeline.report
    done = len(timeline.changes) - report.failed_swaps
    back = f"; not put back: {timeline.put_back_fault}" if timeline.put_back_fault else ""
    return (
        f"{done} of {len(timeline.changes)} done under {report.offered} requests, {timeline.errors} errors; p99 "
        f"{shown(report.inside.p99_ms)} ms within, {shown(report.outside.p99_ms)} ms between{back}"
    )


def _costs(side: Side) -> str:
    costs = side.costs
    if costs.cpu_s_per_1000_in_all is None:
        return "not known from here"
    memory = ", ".join(f"{name} {shown(held)} MB" for name, held in costs.resident_mb.items())
    energy = f", {shown(costs.gpu_energy_j_per_1000)} J of GPUs" if costs.gpu_energy_j_per_1000 is not None else ""
    return f"{shown(costs.cpu_s_per_1000_in_all)} CPU seconds{energy} per 1,000; {memory}"
