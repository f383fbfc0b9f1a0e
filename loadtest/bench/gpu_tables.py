"""What was measured on a GPU, as tables. Pure."""

from collections.abc import Sequence
from statistics import median

from loadtest.bench.cases import Case, Protocol
from loadtest.bench.figures import Figures
from loadtest.bench.gpu import Gpu
from loadtest.bench.markdown import NONE, number, table
from loadtest.bench.parity import Parity
from loadtest.bench.results import Run


def describe_gpu(gpu: Gpu) -> str:
    """One sentence."""
    return f"GPU: {gpu.name}, {gpu.memory_bytes / 2**30:.0f} GiB, CUDA {gpu.cuda}."


def parity_table(parities: Sequence[Parity]) -> str:
    """Empty without any."""
    rows = [
        (
            parity.who,
            str(parity.images),
            NONE if parity.difference is None else f"{parity.difference:.2g}",
            f"{parity.limit:g}",
            str(parity.labels_wrong),
            "yes" if parity.is_kept else "**no**",
        )
        for parity in parities
    ]
    head = ("who", "golden images", "largest difference of a logit", "limit", "other labels", "kept")
    return table(head, rows) if rows else ""


def gpu_table(runs: Sequence[Run]) -> str:
    """One line a case, medians over its runs: its memory is that of the servers, and of everything on the card."""
    by_case: dict[Case, list[Figures]] = {}
    for run in runs:
        by_case.setdefault(run.case, []).append(run.figures)
    ordered = sorted(
        by_case, key=lambda case: (case.rows, case.protocol is not Protocol.FORWARD, case.target, case.connections)
    )
    head = (
        "what",
        "images a request",
        "connections",
        "images/s",
        "p50 ms",
        "p99 ms",
        "GPU MB, own",
        "of the card",
        "errors, wrong",
    )
    return table(head, [_row(case, by_case[case]) for case in ordered])


def _row(case: Case, group: Sequence[Figures]) -> tuple[str, ...]:
    return (
        str(case.target),
        str(case.rows),
        NONE if case.protocol is Protocol.FORWARD else f"{case.connections:,}",
        f"{median(figures.rows_per_s for figures in group):,.0f}",
        number(median(figures.latency.p50_ms for figures in group)),
        number(median(figures.latency.p99_ms for figures in group)),
        _megabytes([figures.gpu_bytes for figures in group]),
        _megabytes([figures.gpu_card_bytes for figures in group]),
        f"{sum(figures.errors for figures in group)}, {sum(figures.wrong for figures in group)}",
    )


def _megabytes(sizes: Sequence[int | None]) -> str:
    known = [size for size in sizes if size is not None]
    return f"{max(known) / 1e6:,.0f}" if known else NONE
