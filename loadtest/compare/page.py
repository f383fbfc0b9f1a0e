"""The report as one HTML page that needs nothing else: made of a result alone, every number of it wrapped in <data>.

Rules: no number is computed here, so that each is in the JSON; text is escaped; it prints, and reads on a phone.
"""

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from plotly.offline import get_plotlyjs

from loadtest.compare.factor_section import encode_factors_section
from loadtest.compare.figures import figures_of
from loadtest.compare.page_parts import TOO_SMALL
from loadtest.compare.page_parts import interval as _interval
from loadtest.compare.page_parts import note as _note
from loadtest.compare.page_parts import number as _number
from loadtest.compare.page_parts import plot as _plot
from loadtest.compare.page_parts import table as _table
from loadtest.compare.page_style import SCRIPT, STYLE
from loadtest.compare.results import Comparison, Result, encode_result
from loadtest.compare.statistics import Effect, Quantile
from loadtest.compare.swap_section import encode_swaps

_LEVELS = {0.5: "p50", 0.9: "p90", 0.99: "p99", 0.999: "p99.9"}
NOT_MEASURED = Effect(0)


def encode_page(result: Result, plotly_script: str | None = None) -> str:
    """The whole page, some 5 MB, most of it plotly's script; another script may be given in its place."""
    script = get_plotlyjs() if plotly_script is None else plotly_script
    a, b = result.a.label.text, result.b.label.text
    return "".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(a)} and {escape(b)}, compared</title><style>{STYLE}</style></head><body><main>",
            *_sections(result),
            "</main>",
            _json_block("result", encode_result(result).decode()),
            _json_block("figures", json.dumps(figures_of(result))),
            f"<script>{script}</script><script>{SCRIPT}</script></body></html>\n",
        )
    )


def _json_block(name: str, text: str) -> str:
    # Nothing in it may end the element: JSON reads \u003c as <.
    return f'<script type="application/json" id="{name}">' + text.replace("<", "\\u003c") + "</script>"


def _sections(result: Result) -> Iterable[str]:
    yield _head(result)
    yield "<h2>Differences</h2>" + _note(
        "B over A, the geometric mean of all pairs' ratios; below 1, B has less. 95 % interval by bootstrap over them. "
        f"The verdict is by {result.settings.metric} alone, which was chosen before the run; of so many rows, one or "
        "another may leave out 1 by chance."
    )
    yield _effects(result) + _plot("pairs", "Each point is one pair. A/A: an engine against itself, the noise.")
    yield "<h2>Latency</h2>" + _quantiles(result) + _plot("tail", "Bands: 95 % intervals by order statistics.")
    yield _note(
        "The intervals of quantiles suppose independent requests; queues make neighbours alike, so take them as "
        "a lower bound of the doubt. The differences above do not suppose it."
    )
    yield "<h2>Load</h2>" + _load(result)
    yield "<h2>Stages</h2>" + _stages(result) + _plot("stages", "All requests, and the slowest 1 %.")
    yield "<h2>What it takes</h2>" + _costs(result)
    yield encode_swaps(result.swaps, result.swaps_left_out)
    yield encode_factors_section(result.factors)
    yield "<h2>Can the numbers be right?</h2>" + _checks(result)
    yield "<h2>Rejected</h2>" + _rejected(result)
    yield "<h2>Environment</h2>" + _environment(result)


def _head(result: Result) -> str:
    verdict, labels = result.verdict, (result.a.label, result.b.label)
    lines = [f"<h1>{escape(result.a.label.text)} and {escape(result.b.label.text)}</h1>"]
    if result.is_interrupted:
        lines.append('<p class="caution">The run was interrupted: this is what was measured until then.</p>')
    lines.append(f'<p class="verdict">{escape(verdict.sentence)}</p>')
    floor = (
        f"An engine may differ from itself by {_number(verdict.noise_percent)} % (A/A)."
        if verdict.noise_percent
        else ""
    )
    lines.append(_note(f"{floor} A is {escape(labels[0].text)}, B is {escape(labels[1].text)}.", is_safe=True))
    if verdict.noise_caution:
        lines.append(f'<p class="caution">{escape(verdict.noise_caution)}</p>')
    return "".join(lines)


def _labels(result: Result) -> tuple[str, str]:
    return result.a.label.text, result.b.label.text


def _effects(result: Result) -> str:
    comparisons: list[tuple[str, Comparison]] = [("A/A", result.noise), ("behind the gateway", result.gateway)]
    if result.direct:
        comparisons.append(("each engine itself", result.direct))
    head = ("", *(f"{name}, {comparison.pairs} pairs" for name, comparison in comparisons))
    metrics = result.gateway.effects
    return _table(
        head,
        (
            (escape(metric), *(_effect(c.effects.get(metric, NOT_MEASURED)) for _, c in comparisons))
            for metric in metrics
        ),
    )


def _effect(effect: Effect) -> str:
    if effect.ratio is None:
        return TOO_SMALL
    if effect.low is None:
        return f"{_number(effect.ratio)} ({_number(effect.pairs)} pairs: too few)"
    return f"<b>{_number(effect.ratio)}</b> ({_interval(effect.low, effect.high)})"


def _quantiles(result: Result) -> str:
    rows = [("mean", *(_number(side.mean_ms) for side in (result.a, result.b)))]
    for first, second in zip(result.a.quantiles_ms, result.b.quantiles_ms, strict=True):
        rows.append((_LEVELS[first.level], _quantile(first), _quantile(second)))
    counts = ("requests", *(_number(side.requests) for side in (result.a, result.b)))
    errors = ("without a good answer", *(_number(side.errors) for side in (result.a, result.b)))
    return _table(("ms", *_labels(result)), (*rows, counts, errors))


def _quantile(quantile: Quantile) -> str:
    interval = _interval(quantile.low, quantile.high)
    return interval if interval == TOO_SMALL else f"<b>{_number(quantile.value)}</b> ({interval})"


def _load(result: Result) -> str:
    if not (result.a.capacity.points or result.b.capacity.points):
        return _note("Not measured.")
    caption = "Red: the SLO. Dotted upright: each knee. A cross did not pass. Bands: 95 % of p99."
    return _capacity(result) + _plot("load", caption) + _points(result)


def _capacity(result: Result) -> str:
    slo = f"p99 within {_number(result.settings.slo_ms)} ms"
    sides = (result.a.capacity, result.b.capacity)
    rows = [
        (f"requests a second, {slo}", *(f"<b>{_number(c.passed_per_s, 'none passed')}</b>" for c in sides)),
        ("the next that did not pass", *(_number(c.failed_per_s) for c in sides)),
        ("knee: most answers a second for their latency", *(_number(c.knee_per_s) for c in sides)),
    ]
    if result.settings.price_per_hour is not None:
        price = f"a million, at {_number(result.settings.price_per_hour)} an hour"
        rows.append((price, *(_number(c.price_per_million) for c in sides)))
    if any(c.is_limited_by_generator for c in sides):
        rows.append(("limited by", *("the load generator" if c.is_limited_by_generator else "" for c in sides)))
    if any(c.is_cut_short for c in sides):
        rows.append(("the search", *("ran out of time" if c.is_cut_short else "ended" for c in sides)))
    return _table(("", *_labels(result)), rows)


def _points(result: Result) -> str:
    rows = []
    for side in (result.a, result.b):
        for point in side.capacity.points:
            why = "passed" if point.is_passed else escape("; ".join(point.why))
            cells = (point.rate_per_s, point.answered_per_s, point.p50_ms, point.p99_ms, point.p99_upper_ms)
            rows.append((escape(side.label.text), *map(_number, cells), _number(point.late_p99_ms), why))
    head = ("", "offered /s", "answered /s", "p50 ms", "p99 ms", "upper bound", "sent late, p99 ms", "")
    return f"<details><summary>All trials</summary>{_table(head, rows)}</details>"


def _stages(result: Result) -> str:
    told = [(side, side.stages) for side in (result.a, result.b) if side.stages]
    if not told:
        return _note("No answer said where its time went.")
    rows = []
    for number, first in enumerate(told[0][1].rows):
        cells = [escape(first.stage)]
        for _, stages in told:
            row = stages.rows[number]
            cells += [
                f"{_number(ms)} ms ({_number(p)} %)"
                for ms, p in ((row.all_ms, row.all_percent), (row.slowest_ms, row.slowest_percent))
            ]
        rows.append(cells)
    latency, rest = ["<b>latency</b>"], ["of the unattributed, in the gateway"]
    for _, stages in told:
        latency += [f"{_number(stages.latency_ms)} ms", f"{_number(stages.slowest_latency_ms)} ms"]
        rest += [f"{_number(stages.gateway_rest_ms)} ms", f"{_number(stages.slowest_gateway_rest_ms)} ms"]
    head = ("", *(f"{side.label.text}, {which}" for side, _ in told for which in ("all", "slowest 1 %")))
    return _table(head, [*rows, latency, rest])


def _costs(result: Result) -> str:
    sides = (result.a.costs, result.b.costs)
    names = sorted({name for costs in sides for name in costs.cpu_s_per_1000})
    held = sorted({name for costs in sides for name in costs.resident_mb})
    rows = [
        ("<b>CPU seconds per 1,000</b>", *(_number(costs.cpu_s_per_1000_in_all) for costs in sides)),
        *((escape(f"of them {n}"), *(_number(costs.cpu_s_per_1000.get(n)) for costs in sides)) for n in names),
        *((escape(f"memory of {n}, MB"), *(_number(costs.resident_mb.get(n)) for costs in sides)) for n in held),
        ("GPU memory, MB", *(_number(costs.gpu_memory_mb) for costs in sides)),
        ("GPU energy, J per 1,000", *(_number(costs.gpu_energy_j_per_1000) for costs in sides)),
    ]
    note = (
        "" if names else _note("The processes are not this machine's, or not known here: their usage cannot be read.")
    )
    return _table(("", *_labels(result)), rows) + note


def _checks(result: Result) -> str:
    rows = []
    for side in (result.a, result.b):
        if side.balance:
            balance = side.balance
            says = (
                "agree" if balance.holds else "do not agree: the load generator was starved, or the slots are too short"
            )
            cells = (_number(balance.seen), _number(balance.expected), _effect(balance.effect), says)
            rows.append((escape(side.label.text), *cells))
    head = ("Little's law", "answers owed, as arrivals saw", "rate × time since sent", "ratio", "")
    return _table(head, rows) if rows else _note("No pair counts.")


def _rejected(result: Result) -> str:
    if not result.rejected:
        return _note("Nothing was.")
    rows = ((escape(r.where), _number(r.number), escape(r.subject), escape(r.why)) for r in result.rejected)
    return _table(("in", "number", "subject", "why"), rows)


def _environment(result: Result) -> str:
    settings, machine = result.settings, result.machine
    rows: list[tuple[str, str]] = [
        *((f"{side.label.engine} is", escape(side.label.implementation)) for side in (result.a, result.b)),
        ("model, version", f"{escape(settings.model)}, {_number(settings.version)}"),
        ("started, took", f"{escape(result.started_at)}, {_number(result.took_s)} s"),
        ("rate of all pairs", f"{_number(settings.rate_per_s)} requests a second, one row each, Poisson arrivals"),
        ("slots, warm-up left out", f"{_number(settings.slot_s)} s, {_number(settings.warm_up_s)} s"),
        ("closed loop reached", ", ".join(f"{escape(n)} {_number(v)} /s" for n, v in settings.capacity_per_s.items())),
        ("asked", escape(settings.requests_from)),
        ("seed", _number(settings.seed)),
        ("cores, memory", f"{_number(machine.cores)}, {_number(machine.memory_bytes)} bytes"),
        ("load before the run", _number(machine.load)),
        ("processor, governor", escape(f"{machine.processor}, {machine.governor or 'unknown'}")),
        ("GPUs", escape(", ".join(result.gpus) or "none that NVML tells of")),
        ("system, Python", escape(f"{machine.system}, {machine.python}")),
        ("sources", escape(machine.commit or "unknown")),
        *((escape(name), escape(text)) for name, text in _sorted(machine.libraries)),
        *((f"SHA-256 of {escape(name)}", f"<code>{escape(text)}</code>") for name, text in _sorted(result.hashes)),
    ]
    return _table(("", ""), rows)


def _sorted(mapping: Mapping[str, Any]) -> list[tuple[str, str]]:
    return sorted(mapping.items())
