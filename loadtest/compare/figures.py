"""The page's figures as plotly's data, made of a result's numbers as they are: nothing is computed here. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from loadtest.compare.results import Comparison, Result, Side
from loadtest.compare.slo import LoadPoint
from loadtest.compare.swap_section import FIGURE as SWAPS
from loadtest.compare.swap_section import draw_swaps

Figure = dict[str, Any]

COLOURS = ("#0072b2", "#d55e00")  # told apart by colour-blind readers, and in print by their dashes too
_BANDS = ("rgba(0,114,178,.18)", "rgba(213,94,0,.18)")
_DASHES = ("solid", "dash")
_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_MILLISECONDS = {
    "title": {"text": "latency, ms"},
    "type": "log",
    "tickvals": _TICKS,
    "ticktext": [str(t) for t in _TICKS],
}
_GREYS = ("#bbbbbb", "#0072b2", "#56b4e9", "#d55e00", "#f0e442", "#777777")


def figures_of(result: Result) -> dict[str, Figure]:
    """By the id of the element that each belongs into."""
    drawn = {
        "pairs": _pairs(result.noise, result.gateway, result.settings.metric),
        "load": _load(result),
        "tail": _tail(result),
        "stages": _stages(result),
    }
    return drawn | ({SWAPS: draw_swaps(result.swaps)} if result.swaps else {})


def _layout(x: Mapping[str, Any], y: Mapping[str, Any], **more: Any) -> Figure:
    base = {"automargin": True, "gridcolor": "#e5e5e5", "zeroline": False}
    return {
        "xaxis": {**base, **x},
        "yaxis": {**base, **y},
        "margin": {"l": 56, "r": 12, "t": 12, "b": 48},
        "height": 360,
        "legend": {"orientation": "h", "y": -0.25},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#222"},
        **more,
    }


def _pairs(noise: Comparison, gateway: Comparison, metric: str) -> Figure:
    """Every pair's log-ratio: an engine against itself, and the two."""
    traces = []
    for comparison, name, colour, symbol in (
        (noise, "A/A", "#999999", "x"),
        (gateway, "B over A", "#222222", "circle"),
    ):
        values = comparison.effects[metric].log_ratios
        traces.append(
            {
                "type": "box",
                "name": name,
                "y": list(values),
                "boxpoints": "all",
                "jitter": 0.6,
                "pointpos": 0,
                "fillcolor": "rgba(0,0,0,0)",
                "line": {"color": colour, "width": 1},
                "marker": {"color": colour, "symbol": symbol},
            }
        )
    layout = _layout({}, {"title": {"text": f"log of the ratio of {metric}"}}, showlegend=False)
    layout["shapes"] = [_line("h", 0)]
    return {"data": traces, "layout": layout}


def _line(direction: str, at: float, colour: str = "#444444") -> Figure:
    line = {"color": colour, "width": 1, "dash": "dot"}
    if direction == "h":
        return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": at, "y1": at, "line": line}
    return {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": at, "x1": at, "line": line}


def _load(result: Result) -> Figure:
    """p50 and p99 against offered load, with the SLO, and each engine's knee."""
    traces: list[Figure] = []
    shapes = [_line("h", result.settings.slo_ms, "#cc0000")]
    for number, side in enumerate((result.a, result.b)):
        points = [point for point in side.capacity.points if point.p99_ms is not None]
        traces += _load_traces(side, points, number)
        if side.capacity.knee_per_s is not None:
            shapes.append(_line("v", side.capacity.knee_per_s, COLOURS[number]))
    layout = _layout(
        {"title": {"text": "offered requests a second"}, "rangemode": "tozero"},
        _MILLISECONDS,
        shapes=shapes,
    )
    return {"data": traces, "layout": layout}


def _load_traces(side: Side, points: Sequence[LoadPoint], number: int) -> list[Figure]:
    rates = [point.rate_per_s for point in points]
    line = {"color": COLOURS[number], "dash": _DASHES[number]}
    p99 = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": f"{side.label.text}, p99",
        "x": rates,
        "y": [point.p99_ms for point in points],
        "line": line,
        "marker": {"symbol": ["circle" if point.is_passed else "x" for point in points], "size": 9},
    }
    p50 = {
        "type": "scatter",
        "mode": "lines",
        "name": f"{side.label.text}, p50",
        "x": rates,
        "y": [point.p50_ms for point in points],
        "line": {**line, "width": 1},
    }
    band = _band(rates, [p.p99_low_ms for p in points], [p.p99_high_ms for p in points], number)
    return [*band, p99, p50]


def _band(x: Sequence[float], low: Sequence[float | None], high: Sequence[float | None], number: int) -> list[Figure]:
    """The area between two lines, where both are known."""
    known = [(a, b, c) for a, b, c in zip(x, low, high, strict=True) if b is not None and c is not None]
    if not known:
        return []
    across, lows, highs = (list(values) for values in zip(*known, strict=True))
    bare = {"type": "scatter", "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    return [
        {**bare, "x": across, "y": lows},
        {**bare, "x": across, "y": highs, "fill": "tonexty", "fillcolor": _BANDS[number]},
    ]


def _tail(result: Result) -> Figure:
    """Latency against one in how many requests is slower, evenly spaced in powers of ten."""
    traces = []
    for number, side in enumerate((result.a, result.b)):
        points = side.curve_ms
        far = [point.one_in for point in points]
        traces += _band(far, [point.low for point in points], [point.high for point in points], number)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": side.label.text,
                "x": far,
                "y": [point.value for point in points],
                "line": {"color": COLOURS[number], "dash": _DASHES[number]},
            }
        )
    ticks = {
        "tickvals": [2, 10, 100, 1000, 10_000, 100_000],
        "ticktext": ["p50", "p90", "p99", "p99.9", "p99.99", "p99.999"],
    }
    layout = _layout({"type": "log", **ticks}, _MILLISECONDS)
    return {"data": traces, "layout": layout}


def _stages(result: Result) -> Figure:
    """Where the time went, of all requests and of the slowest, in milliseconds."""
    told = [(side.label.text, side.stages) for side in (result.a, result.b) if side.stages]
    groups = [f"{name}<br>{which}" for name, _ in told for which in ("all", "slowest")]
    traces = []
    for number in range(len(told[0][1].rows) if told else 0):
        rows = [stages.rows[number] for _, stages in told]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": rows[0].stage,
                "y": groups,
                "x": [value for row in rows for value in (row.all_ms, row.slowest_ms)],
                "marker": {"color": _GREYS[number], "line": {"color": "white", "width": 1}},
            }
        )
    layout = _layout({"title": {"text": "mean ms"}}, {"autorange": "reversed"}, barmode="relative", height=320)
    return {"data": traces, "layout": layout}
