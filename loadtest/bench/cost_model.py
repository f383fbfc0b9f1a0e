"""What a request costs in processor time, and what throughput that allows. Pure.

A request costs the gateway something by itself, something for each of its rows and something for its share of a batch;
an engine's batch of n rows costs a·n + b. These are fitted to a few measured cases (least squares of relative errors,
no cost below nothing). On c cores a closed loop then reaches the least of four limits, times the share of it that the
fitted cases reached:

- gateway: one process uses one core at most;
- engine worker: a worker computes one batch at a time, on as many cores as a forward pass may take;
- all cores: gateway, engine and load generator together;
- connections: each waits for its own request, so N of them have N on the way (Little's law).

Batch sizes are not predicted: they are what the gateway's own metric told of the case.
"""

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

import numpy as np


class NotEnough(ValueError):
    """Too few cases, or too much alike, for a model to be fitted."""


class Limit(enum.StrEnum):
    """What keeps throughput down."""

    GATEWAY = "gateway"
    WORKER = "engine worker"
    CORES = "all cores"
    CONNECTIONS = "connections"


@dataclass(frozen=True)
class Load:
    """What is asked of how much: closed-loop connections, gateway processes, rows a request and rows a batch."""

    connections: int
    processes: int
    rows: int
    rows_per_batch: float

    @property
    def batches(self) -> float:
        """Of a request: a share of one, or several when its rows are parted."""
        return self.rows / self.rows_per_batch


@dataclass(frozen=True)
class Spent:
    """Processor seconds of one request. `frontend_s` is what an engine uses outside of its worker."""

    gateway_s: float
    frontend_s: float
    worker_s: float
    generator_s: float

    @property
    def server_s(self) -> float:
        """Without the load generator."""
        return self.gateway_s + self.frontend_s + self.worker_s


@dataclass(frozen=True)
class Observed:
    """A measured case. `cores` are those that other programs left."""

    load: Load
    spent: Spent
    requests_per_s: float
    cores: float


@dataclass(frozen=True)
class Cost:
    """Processor seconds by what causes them."""

    per_request_s: float
    per_row_s: float
    per_batch_s: float

    def of_request(self, load: Load) -> float:
        return self.per_request_s + self.per_row_s * load.rows + self.per_batch_s * load.batches

    def of_batch(self, rows: float) -> float:
        """a·n + b"""
        return self.per_row_s * rows + self.per_batch_s


@dataclass(frozen=True)
class Prediction:
    requests_per_s: float
    limit: Limit


@dataclass(frozen=True)
class CostModel:
    """`reach`: by limit, the share of it that the fitted cases reached."""

    gateway: Cost
    frontend: Cost
    worker: Cost
    generator: Cost
    worker_cores: float
    reach: Mapping[Limit, float]

    def spend(self, load: Load) -> Spent:
        """What a request costs."""
        return Spent(*(cost.of_request(load) for cost in (self.gateway, self.frontend, self.worker, self.generator)))

    def limits(self, load: Load, cores: float) -> dict[Limit, float]:
        """Requests a second that each limit allows."""
        spent = self.spend(load)
        # A request's batch has others' rows in it, and all of them are computed before any is answered.
        whole_s = self.frontend.of_batch(load.rows_per_batch) + self.worker.of_batch(load.rows_per_batch)
        engine_s = max(spent.frontend_s + spent.worker_s, whole_s)
        return {
            Limit.GATEWAY: _per(load.processes, spent.gateway_s),
            Limit.WORKER: _per(self.worker_cores, spent.worker_s),
            Limit.CORES: _per(cores, spent.server_s + spent.generator_s),
            Limit.CONNECTIONS: _per(load.connections, spent.gateway_s + spent.generator_s + engine_s),
        }

    def predict(self, load: Load, cores: float) -> Prediction:
        """Throughput of a closed loop on so many cores."""
        limits = self.limits(load, cores)
        limit = min(limits, key=limits.__getitem__)
        return Prediction(limits[limit] * self.reach.get(limit, self._usual_reach), limit)

    @property
    def _usual_reach(self) -> float:
        return median(self.reach.values()) if self.reach else 1.0


def _per(amount: float, cost_s: float) -> float:
    return amount / cost_s if cost_s > 0 else math.inf


def fit(observed: Sequence[Observed], worker_cores: float) -> CostModel:
    """The model of one engine behind the gateway. Raises NotEnough."""
    if len(observed) < 3 or len({one.load.rows for one in observed}) < 2:
        raise NotEnough("a cost model takes three cases or more, of different numbers of rows")

    def fitted(part: Callable[[Spent], float], *, has_request: bool, has_batch: bool) -> Cost:
        return _fit_cost(
            [(one.load, part(one.spent)) for one in observed], has_request=has_request, has_batch=has_batch
        )

    model = CostModel(
        fitted(lambda spent: spent.gateway_s, has_request=True, has_batch=True),
        fitted(lambda spent: spent.frontend_s, has_request=False, has_batch=True),
        fitted(lambda spent: spent.worker_s, has_request=False, has_batch=True),
        fitted(lambda spent: spent.generator_s, has_request=True, has_batch=False),
        worker_cores,
        {},
    )
    return CostModel(
        model.gateway, model.frontend, model.worker, model.generator, worker_cores, _reaches(model, observed)
    )


def _reaches(model: CostModel, observed: Sequence[Observed]) -> dict[Limit, float]:
    found: dict[Limit, list[float]] = {}
    for one in observed:
        bound = model.predict(one.load, one.cores)
        found.setdefault(bound.limit, []).append(one.requests_per_s / bound.requests_per_s)
    return {limit: median(shares) for limit, shares in found.items()}


def _fit_cost(known: Sequence[tuple[Load, float]], *, has_request: bool, has_batch: bool) -> Cost:
    """Least squares of relative errors with no negative term: the best of all sets of terms whose fit has none."""
    known = [(load, cost_s) for load, cost_s in known if cost_s > 0]
    terms = [name for name, is_in in (("request", has_request), ("row", True), ("batch", has_batch)) if is_in]
    best, least = dict.fromkeys(terms, 0.0), math.inf
    for size in range(1, min(len(terms), len(known)) + 1):
        for chosen in combinations(terms, size):
            rows = [[_amount(name, load) / cost_s for name in chosen] for load, cost_s in known]
            solved, *_ = np.linalg.lstsq(np.array(rows), np.ones(len(rows)), rcond=None)
            error = float(np.square(np.array(rows) @ solved - 1).sum())
            if error < least - 1e-12 and (solved >= 0).all():
                best, least = dict(zip(chosen, map(float, solved), strict=True)), error
    return Cost(best.get("request", 0.0), best.get("row", 0.0), best.get("batch", 0.0))


def _amount(term: str, load: Load) -> float:
    return {"request": 1.0, "row": float(load.rows), "batch": load.batches}[term]


@dataclass(frozen=True)
class Needs:
    """What a rate takes: whole gateway processes, engine workers and cores."""

    gateway_processes: int
    engine_workers: int
    cores: int


def plan_machines(model: CostModel, rate_per_s: float, rows_per_batch: float, busy: float) -> Needs:
    """For requests of one row; everything is busy for that share of its time at most, 0..1."""
    spent = model.spend(Load(1, 1, 1, rows_per_batch))
    needed_s = (spent.gateway_s, spent.worker_s / model.worker_cores, spent.server_s)
    return Needs(*(max(1, math.ceil(rate_per_s * cost_s / busy - 1e-9)) for cost_s in needed_s))
