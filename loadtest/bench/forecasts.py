"""What the cost model says of a bench's runs: it is fitted to a few cases and predicts the others. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from loadtest.bench.cases import GATEWAYS, Case, Protocol, TargetName
from loadtest.bench.cost_model import CostModel, Limit, Load, NotEnough, Observed, Spent, fit
from loadtest.bench.figures import Figures
from loadtest.bench.results import Report

GOOD_ERROR = 0.15
FITTED = {(8, 1), (64, 1), (8, 8), (16, 32), (8, 512)}
"""The cases that the model is fitted to: connections and images a request, with the platform's own gateway."""


@dataclass(frozen=True)
class Forecast:
    """A case, what the model says of it, and what was measured; `limit` is what keeps it down by the model."""

    case: Case
    observed: Observed
    spent: Spent
    requests_per_s: float
    limit: Limit
    was_fitted: bool

    @property
    def error(self) -> float:
        """Of the prediction, as a share of what was measured."""
        return self.requests_per_s / self.observed.requests_per_s - 1

    @property
    def is_good(self) -> bool:
        return abs(self.error) <= GOOD_ERROR


@dataclass(frozen=True)
class Forecasts:
    """Of one engine behind the gateway. `rows_per_batch`: the largest mean of a case with single images."""

    target: TargetName
    model: CostModel
    forecasts: tuple[Forecast, ...]
    rows_per_batch: float


def forecast(report: Report) -> list[Forecasts]:
    """For each engine whose cases suffice."""
    return [found for target in GATEWAYS if (found := _forecast(report, target))]


def _forecast(report: Report, target: TargetName) -> Forecasts | None:
    cases = _observed(report, target)
    fitted = {case: seen for case, seen in cases.items() if _is_fitted(case)}
    cores = report.machine.cores
    # TorchServe's worker has the threads that its launcher gives it; TensorFlow takes what it finds.
    worker_cores = max(1, cores // 4) if target is TargetName.GATEWAY_TORCHSERVE else cores
    try:
        model = fit(list(fitted.values()), worker_cores)
    except NotEnough:
        return None
    forecasts = []
    for case, seen in cases.items():
        predicted, spent = model.predict(seen.load), model.spend(seen.load)
        forecasts.append(Forecast(case, seen, spent, predicted.requests_per_s, predicted.limit, case in fitted))
    largest = max((seen.load.rows_per_batch for case, seen in cases.items() if case.rows == 1), default=1.0)
    return Forecasts(target, model, tuple(forecasts), largest)


def _is_fitted(case: Case) -> bool:
    return case.processes is None and (case.connections, case.rows) in FITTED


def _observed(report: Report, target: TargetName) -> dict[Case, Observed]:
    """Closed loops over HTTP binary in which the gateway batched; medians where a case ran several times."""
    runs: dict[Case, list[Observed]] = {}
    for run in report.runs:
        case, figures = run.case, run.figures
        if case.target is target and case.protocol is Protocol.BINARY and not case.share:
            processes = case.processes or report.gateway_processes
            if figures.requests and (rows_per_batch := figures.rows_per_batch):
                load = Load(case.connections, processes, case.rows, rows_per_batch)
                seen = Observed(load, _spent(figures), figures.requests_per_s)
                runs.setdefault(case, []).append(seen)
    ordered = sorted(runs, key=lambda case: (case.processes or 0, case.rows, case.connections))
    return {case: _middle(runs[case]) for case in ordered}


def _spent(figures: Figures) -> Spent:
    by_name = {name: used / figures.requests for name, used in figures.cpu_s.items()}
    gateway = sum(used for name, used in by_name.items() if name.startswith("gateway"))
    frontend = by_name.get("torchserve", 0.0)
    worker = sum(by_name.values()) - gateway - frontend
    return Spent(gateway, frontend, worker, figures.generator_cpu_s / figures.requests)


def _middle(runs: Sequence[Observed]) -> Observed:
    first = runs[0].load
    load = Load(first.connections, first.processes, first.rows, median(one.load.rows_per_batch for one in runs))
    spent = Spent(
        median(one.spent.gateway_s for one in runs),
        median(one.spent.frontend_s for one in runs),
        median(one.spent.worker_s for one in runs),
        median(one.spent.generator_s for one in runs),
    )
    return Observed(load, spent, median(one.requests_per_s for one in runs))
