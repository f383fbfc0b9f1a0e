"""How costs grow with gateway processes, connections and images a request, as tables. Pure."""

from collections.abc import Callable, Iterable, Sequence
from statistics import median

from loadtest.bench.cases import GATEWAYS, Case, Protocol, TargetName
from loadtest.bench.comparisons import PROCESSES
from loadtest.bench.figures import Figures
from loadtest.bench.markdown import NONE, number, spread_text, table
from loadtest.bench.results import Report
from loadtest.bench.sweeps import BATCH_CONNECTIONS, BATCHES, GROWTH_CONNECTIONS

_RAW = {TargetName.GATEWAY_TORCHSERVE: TargetName.RAW_TORCH, TargetName.GATEWAY_TFSERVING: TargetName.RAW_TENSORFLOW}


def process_table(report: Report) -> str:
    """By gateway processes and connections; empty when none was measured."""
    ratios = {result.name: result.spread for result in report.comparisons}
    rows = []
    for connections in (64, 256):
        for processes in PROCESSES:
            runs = _runs(report, Case(TargetName.GATEWAY_TORCHSERVE, connections=connections, processes=processes))
            if runs:
                ratio = ratios.get(f"processes-{processes}-{connections}")
                cells = (f"{connections:,}", str(processes), _rate(runs), spread_text(ratio) if ratio else NONE)
                rows.append(
                    (*cells, *_latency(runs), _gateway_us(runs), _all_us(runs), _generator_us(runs), _bad(runs))
                )
    head = ("connections", "gateway processes", "req/s", "÷ TorchServe alone", *_LATENCY, *_COSTS, "errors, wrong")
    return table(head, rows) if rows else ""


def growth_table(report: Report) -> str:
    """By connections, one image a request; empty unless there are three numbers of them."""
    rows = []
    for target in GATEWAYS:
        found = [(many, _runs(report, Case(target, connections=many))) for many in GROWTH_CONNECTIONS]
        measured = [(many, runs) for many, runs in found if runs]
        if len(measured) < 3:
            continue
        for many, runs in measured:
            costs = (_gateway_us(runs), _all_us(runs), _generator_us(runs))
            cells = (str(target), f"{many:,}", _rate(runs), *_latency(runs), *costs, _batch(runs), _bad(runs))
            rows.append(cells)
    head = ("what", "connections", "req/s", *_LATENCY, *_COSTS, "images a batch", "errors, wrong")
    return table(head, rows) if rows else ""


def batch_table(report: Report) -> str:
    """By images a request, beside the bare forward pass of as many; empty when none was measured."""
    rows = []
    for target in GATEWAYS:
        for images in BATCHES:
            runs = _runs(report, Case(target, connections=BATCH_CONNECTIONS, rows=images))
            raw = _runs(report, Case(_RAW[target], Protocol.FORWARD, 1, images))
            if runs:
                share = f"{_images(runs) / _images(raw):.2f}" if raw and _images(raw) else NONE
                own, bare = (_us_an_image(each) for each in (runs, raw))
                rates = (f"{_images(runs):,.0f}", f"{_images(raw):,.0f}" if raw else NONE, share)
                rows.append((str(target), str(images), *rates, own, bare, *_latency(runs), _batch(runs), _bad(runs)))
    head = (
        "what",
        "images a request",
        "images/s",
        "bare pass, images/s",
        "share of it",
        "CPU µs an image",
        "bare pass's",
        *_LATENCY,
        "images a batch",
        "errors, wrong",
    )
    return table(head, rows) if rows else ""


_LATENCY = ("p50 ms", "p99 ms")
_COSTS = ("gateway's CPU µs a request", "with the engine's", "generator's")


def _runs(report: Report, case: Case) -> list[Figures]:
    return [run.figures for run in report.runs if run.case == case]


def _rate(runs: Sequence[Figures]) -> str:
    return f"{median(figures.requests_per_s for figures in runs):,.0f}"


def _images(runs: Sequence[Figures]) -> float:
    return median(figures.rows_per_s for figures in runs)


def _latency(runs: Sequence[Figures]) -> tuple[str, str]:
    return number(median(f.latency.p50_ms for f in runs)), number(median(f.latency.p99_ms for f in runs))


def _gateway_us(runs: Sequence[Figures]) -> str:
    return _us(runs, lambda f: sum(used for name, used in f.cpu_s.items() if name.startswith("gateway")))


def _all_us(runs: Sequence[Figures]) -> str:
    return _us(runs, lambda f: sum(f.cpu_s.values()))


def _generator_us(runs: Sequence[Figures]) -> str:
    return _us(runs, lambda f: f.generator_cpu_s)


def _us_an_image(runs: Sequence[Figures]) -> str:
    return _us(runs, lambda f: sum(f.cpu_s.values()) / f.rows_per_request)


def _us(runs: Iterable[Figures], used_s: Callable[[Figures], float]) -> str:
    each = [1e6 * used_s(figures) / figures.requests for figures in runs if figures.requests]
    return number(median(each)) if each else NONE


def _batch(runs: Iterable[Figures]) -> str:
    known = [rows for figures in runs if (rows := figures.rows_per_batch) is not None]
    return number(median(known)) if known else NONE


def _bad(runs: Sequence[Figures]) -> str:
    return f"{sum(figures.errors for figures in runs)}, {sum(figures.wrong for figures in runs)}"
