"""What was compared and what each case cost, as tables. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from loadtest.bench.figures import Figures, Spread, cpu_ratio
from loadtest.bench.markdown import NONE, number, spread_text, table
from loadtest.bench.results import ComparisonResult


def comparison_table(results: Sequence[ComparisonResult]) -> str:
    """One line a comparison: the median of its pairs and the range, and what A and B did, medians too."""
    rows = [
        (
            result.name,
            result.says,
            spread_text(result.spread, result.unit),
            result.aim or NONE,
            result.then or NONE,
            _brief(result.a),
            _brief(result.b),
            spread_text(cpu_spread(result)).replace("**", ""),
            f"{sum(f.errors for f in (*result.a, *result.b))}, {sum(f.wrong for f in (*result.a, *result.b))}",
        )
        for result in results
    ]
    head = (
        "name",
        "what",
        "median (least to most)",
        "aim",
        "then",
        "A: req/s, p50/p99 ms",
        "B: req/s, p50/p99 ms",
        "CPU an image, A ÷ B",
        "errors, wrong",
    )
    return table(head, rows)


def cpu_spread(result: ComparisonResult) -> Spread:
    """The ratio of what an image costs in processor time: busy cores disturb it less than they do throughput."""
    if any(figures.rate_per_s for figures in result.a):  # the same server on both sides
        return Spread()
    return Spread.of([cpu_ratio(a, b) for a, b in zip(result.a, result.b, strict=False)])


def cost_table(runs: Iterable[tuple[str, Figures]]) -> str:
    """One line a case, medians over its runs."""
    by_case: dict[str, list[Figures]] = {}
    for name, figures in runs:
        by_case.setdefault(name, []).append(figures)
    head = (
        "case",
        "by",
        "req/s",
        "p50/p90/p99/p99.9 ms",
        "errors",
        "checked, wrong",
        "CPU s per 1,000 requests",
        "generator's",
        "MB",
    )
    return table(head, [_cost_row(name, group) for name, group in by_case.items()])


def _cost_row(name: str, group: list[Figures]) -> tuple[str, ...]:
    latency = [f.latency for f in group]
    quantiles = (
        _middle(values)
        for values in (
            [one.p50_ms for one in latency],
            [one.p90_ms for one in latency],
            [one.p99_ms for one in latency],
            [one.p999_ms for one in latency],
        )
    )
    return (
        name,
        f"{group[0].implementation}, {group[0].generator}{_lag(group)}",
        f"{median(f.requests_per_s for f in group):,.0f}",
        "/".join(number(value) for value in quantiles),
        str(sum(f.errors for f in group)),
        f"{sum(f.checked for f in group)}, {sum(f.wrong for f in group)}",
        _by_process([f.cpu_s_per_1000 for f in group]),
        number(_middle([f.generator_cpu_s_per_1000 for f in group])),
        ", ".join(f"{key} {value / 1e6:,.0f}" for key, value in group[-1].resident_bytes.items()),
    )


def _lag(group: Sequence[Figures]) -> str:
    lags_ms = [f.lag_ms for f in group if f.lag_ms is not None]
    return f", {number(_middle(lags_ms))} ms late" if lags_ms else ""


def _by_process(readings: Sequence[Mapping[str, float]]) -> str:
    names = dict.fromkeys(name for reading in readings for name in reading)
    return ", ".join(f"{name} {number(_middle([r[name] for r in readings if name in r]))}" for name in names)


def _brief(runs: Sequence[Figures]) -> str:
    if not runs:
        return NONE
    p50, p99 = (_middle([getattr(f.latency, name) for f in runs]) for name in ("p50_ms", "p99_ms"))
    return f"{median(f.requests_per_s for f in runs):,.0f}, {number(p50)}/{number(p99)}"


def tried_text(tried: Mapping[str, float]) -> str:
    best = max(tried, key=tried.__getitem__, default="")
    return ", ".join(f"{'**' if k == best else ''}{k} {v:,.0f}{'**' if k == best else ''}" for k, v in tried.items())


def _middle(values: Sequence[float]) -> float:
    return median(values) if values else 0.0
