"""Where the time of a request went: the gateway's Server-Timing against what its client saw. Pure."""

import math
import re
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from loadtest.compare.statistics import Floats

STAGES = ("decode", "queue", "upstream", "encode")
TOTAL = "total"
LATE = "sent late"
UNATTRIBUTED = "unattributed"
SLOWEST = 0.01

_METRIC = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*((?:;[^,]*)?)")
_DURATION = re.compile(r';\s*dur\s*=\s*"?([0-9.]+)"?', re.IGNORECASE)


def decode_server_timing(header: str) -> dict[str, float]:
    """Milliseconds by name, as the header tells them (W3C Server Timing); metrics without a duration are left out."""
    found = {}
    for part in header.split(","):
        metric = _METRIC.match(part)
        duration = _DURATION.search(metric[2]) if metric else None
        if metric and duration:
            try:
                found[metric[1]] = float(duration[1])
            except ValueError:  # such as 1.2.3
                continue
    return found


class StageRow(msgspec.Struct, frozen=True):
    """One stage: its mean milliseconds over all requests and over the slowest, and its share of their latency."""

    stage: str
    all_ms: float
    all_percent: float
    slowest_ms: float
    slowest_percent: float


class Decomposition(msgspec.Struct, frozen=True):
    """The rows add up to the latency. `unattributed` is what no stage names: network, kernel, client and the gateway's
    own remainder, which is `gateway_rest_ms` of it.
    """

    requests: int
    slowest_requests: int
    latency_ms: float
    slowest_latency_ms: float
    gateway_rest_ms: float
    slowest_gateway_rest_ms: float
    rows: tuple[StageRow, ...]


def decompose(latency_ms: Floats, late_ms: Floats, stages_ms: Mapping[str, Floats]) -> Decomposition | None:
    """From arrays [N], one entry a request, NaN where a header named no such stage; None when no request is whole."""
    named = [stages_ms.get(stage) for stage in (*STAGES, TOTAL)]
    whole = np.isfinite(latency_ms)
    for values in named:
        whole &= np.isfinite(values) if values is not None else False
    count = int(whole.sum())
    if not count:
        return None
    columns = [late_ms[whole], *(stages_ms[stage][whole] for stage in STAGES)]
    latency = latency_ms[whole]
    columns.append(latency - np.sum(columns, axis=0))
    rest = stages_ms[TOTAL][whole] - np.sum(columns[1:-1], axis=0)
    slowest = np.argsort(latency, kind="stable")[-max(1, math.ceil(SLOWEST * count)) :]
    return Decomposition(
        count,
        len(slowest),
        float(latency.mean()),
        float(latency[slowest].mean()),
        float(rest.mean()),
        float(rest[slowest].mean()),
        _rows((LATE, *STAGES, UNATTRIBUTED), columns, latency, slowest),
    )


def _rows(
    names: Sequence[str], columns: Sequence[Floats], latency: Floats, slowest: NDArray[np.intp]
) -> tuple[StageRow, ...]:
    all_ms, slowest_ms = float(latency.mean()), float(latency[slowest].mean())
    rows = []
    for name, values in zip(names, columns, strict=True):
        mean, among_slowest = float(values.mean()), float(values[slowest].mean())
        rows.append(StageRow(name, mean, 100 * mean / all_ms, among_slowest, 100 * among_slowest / slowest_ms))
    return tuple(rows)
