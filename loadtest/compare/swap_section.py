"""The report's section on versions that changed places under load, and its figure. Pure."""

from html import escape
from typing import Any

from loadtest.compare.page_parts import note, number, plot, table
from loadtest.compare.timeline import SwapTimeline

FIGURE = "swaps"

_VERSION_COLOURS = ("#56b4e9", "#009e73", "#cc79a7", "#f0e442")
_ERROR_COLOUR = "#d40000"
_TICKS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


def encode_swaps(timeline: SwapTimeline | None, left_out: str) -> str:
    """HTML; empty where nobody asked for swaps."""
    if timeline is None:
        return f"<h2>Hot swap</h2>{note(f'Not measured: {left_out}.')}" if left_out else ""
    report = timeline.report
    heading = "<h2>Hot swap</h2>"
    if timeline.put_back_fault:
        fault = escape(timeline.put_back_fault)
        heading += f'<p class="caution">Version {number(timeline.found_version)} was not put back: {fault}</p>'
    rows = [
        ("requests, answers", f"{number(report.offered)}, {number(report.answered)}"),
        ("errors", number(timeline.errors)),
        ("of them wrong answers", number(report.wrong)),
        ("answers of a version no longer live", number(report.stale)),
        ("the gateway's ledger", escape(report.ledger_fault) or "agrees with our own count"),
        ("p50, p99 within swaps, ms", f"{number(report.inside.p50_ms)}, {number(report.inside.p99_ms)}"),
        ("p50, p99 between swaps, ms", f"{number(report.outside.p50_ms)}, {number(report.outside.p99_ms)}"),
        ("p99 within over between", number(report.ratio_p99.value)),
    ]
    caption = (
        "Windows of 100 ms by when requests were due, so that p99 of a window is its slowest or nearly. Grey: a "
        "promote is under way. Dotted: the first answer of the new version."
    )
    rate = f"Versions changed places at {number(timeline.rate_per_s)} requests a second, whichever engine answered."
    return heading + note(rate, is_safe=True) + table(("", ""), rows) + plot(FIGURE, caption) + _changes(timeline)


def _changes(timeline: SwapTimeline) -> str:
    rows = (
        (
            f"{number(change.from_version)} to {number(change.version)}",
            number(change.began_s),
            number(change.ended_s),
            number(change.flip_s),
            ", ".join(f"{escape(name)} {number(seconds)}" for name, seconds in change.phases.items()),
            escape(change.fault) or "done",
        )
        for change in timeline.changes
    )
    return table(("promote", "began, s", "ended, s", "first new answer, s", "phases, s", ""), rows)


def draw_swaps(timeline: SwapTimeline) -> dict[str, Any]:
    """As plotly's data: latencies above, answers by version and errors below, on one axis of seconds."""
    starts = [window.from_s for window in timeline.windows]
    line = {"type": "scatter", "mode": "lines", "connectgaps": False, "x": starts}
    bar = {"type": "bar", "x": starts, "width": timeline.window_s, "offset": 0, "yaxis": "y2"}
    traces: list[dict[str, Any]] = [
        {
            **line,
            "name": name,
            "y": [getattr(window, field) for window in timeline.windows],
            "line": {"color": "#0072b2", "width": width, "dash": dash},
        }
        for name, field, width, dash in (("p99", "p99_ms", 1.5, "solid"), ("p50", "p50_ms", 1, "dot"))
    ]
    for index, version in enumerate(timeline.versions):
        traces.append(
            {
                **bar,
                "name": f"version {version}",
                "y": [window.answers.get(version, 0) for window in timeline.windows],
                "marker": {"color": _VERSION_COLOURS[index % len(_VERSION_COLOURS)]},
            }
        )
    errors = [window.errors for window in timeline.windows]
    traces.append({**bar, "name": "errors", "y": errors, "marker": {"color": _ERROR_COLOUR}})
    return {"data": traces, "layout": _layout(timeline)}


def _layout(timeline: SwapTimeline) -> dict[str, Any]:
    axis = {"automargin": True, "gridcolor": "#e5e5e5", "zeroline": False}
    shapes: list[dict[str, Any]] = []
    for change in timeline.changes:
        area = {"type": "rect", "yref": "paper", "y0": 0, "y1": 1, "x0": change.began_s, "x1": change.ended_s}
        shapes.append({**area, "fillcolor": "rgba(0,0,0,.06)", "line": {"width": 0}, "layer": "below"})
        if change.flip_s is not None:
            flip = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": change.flip_s, "x1": change.flip_s}
            shapes.append({**flip, "line": {"color": "#222222", "width": 1.5, "dash": "dot"}})
    ticks = {"type": "log", "tickvals": _TICKS_MS, "ticktext": [str(value) for value in _TICKS_MS]}
    return {
        "xaxis": {**axis, "title": {"text": "seconds since the load began"}, "anchor": "y2"},
        "yaxis": {**axis, **ticks, "title": {"text": "latency, ms"}, "domain": [0.42, 1]},
        "yaxis2": {**axis, "title": {"text": "answers, errors"}, "domain": [0, 0.34]},
        "barmode": "stack",
        "bargap": 0,
        "shapes": shapes,
        "margin": {"l": 56, "r": 12, "t": 12, "b": 48},
        "height": 420,
        "legend": {"orientation": "h", "y": -0.2},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#222"},
    }
