"""What a request costs in processor time, and how many a closed loop gets through. Pure.

A request costs the gateway something by itself, something for each of its rows and something for its share of a batch;
an engine's batch of n rows costs a·n + b. These are fitted to a few measured cases (least squares of relative errors,
no cost below nothing) and say how many machines a rate takes.

How many requests a second these very machines get through is fitted to the same cases in the same terms, as the time of
the engine's turn: batches follow one another, and of each turn some part goes by for the batch, for its rows and for
its requests, whoever works or waits meanwhile. Summing processor time and asking which limit binds was tried before: it
was off by half for few connections, where four processes wake one another and no core is busy. There are two other
limits: one gateway process uses one core at most, and a connection waits for its own request (Little's law), of whose
work nothing overlaps where it is the only one.

Batch sizes are not predicted: they are what the gateway's own metric told of the case.
"""

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np


class NotEnough(ValueError):
    """Too few cases, or too much alike, for a model to be fitted."""


class Limit(enum.StrEnum):
    """What keeps throughput down."""

    GATEWAY = "gateway"
    TURNS = "the engine's turns"
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
    """A measured case."""

    load: Load
    spent: Spent
    requests_per_s: float


@dataclass(frozen=True)
class Cost:
    """Seconds by what causes them, of a processor or of time."""

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
    """Processor time by who uses it, and `turn`: how much of the engine's turns a request takes, in time."""

    gateway: Cost
    frontend: Cost
    worker: Cost
    generator: Cost
    turn: Cost
    worker_cores: float

    def spend(self, load: Load) -> Spent:
        """What a request costs."""
        return Spent(*(cost.of_request(load) for cost in (self.gateway, self.frontend, self.worker, self.generator)))

    def limits(self, load: Load) -> dict[Limit, float]:
        """Requests a second that each limit allows."""
        spent = self.spend(load)
        # A request's batch has others' rows in it, and all of them are computed before any is answered.
        batch_s = self.frontend.of_batch(load.rows_per_batch) + self.worker.of_batch(load.rows_per_batch)
        engine_s = max(spent.frontend_s + spent.worker_s, batch_s)
        return {
            Limit.GATEWAY: _per(load.processes, spent.gateway_s),
            Limit.TURNS: _per(1, self.turn.of_request(load)),
            Limit.CONNECTIONS: _per(load.connections, spent.gateway_s + spent.generator_s + engine_s),
        }

    def predict(self, load: Load) -> Prediction:
        """Throughput of a closed loop on machines like those of the fitted cases."""
        limits = self.limits(load)
        limit = min(limits, key=limits.__getitem__)
        return Prediction(limits[limit], limit)


def _per(amount: float, cost_s: float) -> float:
    return amount / cost_s if cost_s > 0 else math.inf


def fit(observed: Sequence[Observed], worker_cores: float) -> CostModel:
    """The model of one engine behind the gateway. Raises NotEnough."""
    if len(observed) < 4 or len({one.load.rows for one in observed}) < 2:
        raise NotEnough("a cost model takes four cases or more, of different numbers of rows")

    def fitted(part: Callable[[Observed], float], *, has_request: bool, has_batch: bool) -> Cost:
        return _fit_cost([(one.load, part(one)) for one in observed], has_request=has_request, has_batch=has_batch)

    return CostModel(
        fitted(lambda one: one.spent.gateway_s, has_request=True, has_batch=True),
        fitted(lambda one: one.spent.frontend_s, has_request=False, has_batch=True),
        fitted(lambda one: one.spent.worker_s, has_request=False, has_batch=True),
        fitted(lambda one: one.spent.generator_s, has_request=True, has_batch=False),
        fitted(lambda one: _per(1, one.requests_per_s), has_request=True, has_batch=True),
        worker_cores,
    )


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
