"""The cost model on made-up numbers: known costs are found again, and each limit is seen when it is one."""

import dataclasses
import math

import pytest

from loadtest.bench.cost_model import (
    Cost,
    CostModel,
    Limit,
    Load,
    NotEnough,
    Observed,
    Spent,
    fit,
    plan_machines,
)

GATEWAY = Cost(200e-6, 10e-6, 500e-6)
FRONTEND = Cost(0, 5e-6, 300e-6)
WORKER = Cost(0, 100e-6, 1000e-6)
GENERATOR = Cost(30e-6, 2e-6, 0)
TURN = Cost(50e-6, 120e-6, 2000e-6)
TRUE = CostModel(GATEWAY, FRONTEND, WORKER, GENERATOR, TURN, 1)

LOADS = [
    Load(1, 1, 1, 1.0),
    Load(64, 1, 1, 24.0),
    Load(8, 1, 8, 32.0),
    Load(16, 1, 32, 64.0),
    Load(8, 1, 512, 64.0),
]


def observe(load: Load) -> Observed:
    return Observed(load, TRUE.spend(load), TRUE.predict(load).requests_per_s)


def as_us(cost: Cost) -> tuple[float, float, float]:
    return 1e6 * cost.per_request_s, 1e6 * cost.per_row_s, 1e6 * cost.per_batch_s


def test_known_costs_are_found_again() -> None:
    model = fit([observe(load) for load in LOADS], worker_cores=1)
    for found, true in (
        (model.gateway, GATEWAY),
        (model.frontend, FRONTEND),
        (model.worker, WORKER),
        (model.generator, GENERATOR),
        (model.turn, TURN),
    ):
        assert as_us(found) == pytest.approx(as_us(true), abs=1e-3)


def test_what_was_held_out_is_predicted() -> None:
    model = fit([observe(load) for load in LOADS], worker_cores=1)
    for held_out in (Load(4, 1, 1, 2.0), Load(256, 2, 1, 64.0), Load(256, 4, 32, 64.0)):
        expected = 1 / (50e-6 + 120e-6 * held_out.rows + 2000e-6 * held_out.rows / held_out.rows_per_batch)
        assert model.predict(held_out).requests_per_s == pytest.approx(expected)


def test_noise_of_measuring_makes_no_cost_negative() -> None:
    noisy = [Observed(load, Spent(50e-6 * (1 + load.rows % 3), 0, 1e-3 / load.rows, 20e-6), 1000.0) for load in LOADS]
    model = fit(noisy, worker_cores=1)
    for cost in (model.gateway, model.frontend, model.worker, model.generator):
        assert min(as_us(cost)) >= 0
    assert as_us(model.frontend) == (0, 0, 0)


def test_each_limit_is_seen_when_it_is_one() -> None:
    assert TRUE.predict(Load(64, 1, 1, 24.0)).limit is Limit.TURNS
    busy = dataclasses.replace(TRUE, turn=Cost(0, 10e-6, 0))
    assert busy.predict(Load(1000, 1, 1, 64.0)).limit is Limit.GATEWAY
    assert busy.predict(Load(1000, 64, 1, 64.0)).limit is Limit.TURNS
    assert busy.predict(Load(1, 64, 1, 1.0)).limit is Limit.CONNECTIONS


def test_the_limits_are_those_of_pencil_and_paper() -> None:
    limits = TRUE.limits(Load(100, 2, 1, 50.0))
    assert limits[Limit.GATEWAY] == pytest.approx(2 / (200e-6 + 10e-6 + 500e-6 / 50))
    assert limits[Limit.TURNS] == pytest.approx(1 / (50e-6 + 120e-6 + 2000e-6 / 50))
    batch_s = 50 * (100e-6 + 5e-6) + 1000e-6 + 300e-6
    assert limits[Limit.CONNECTIONS] == pytest.approx(100 / (200e-6 + 10e-6 + 500e-6 / 50 + 32e-6 + batch_s))


def test_what_costs_nothing_is_no_limit() -> None:
    nothing = Cost(0, 0, 0)
    assert CostModel(nothing, nothing, nothing, nothing, nothing, 1).predict(LOADS[0]).requests_per_s == math.inf


@pytest.mark.parametrize("loads", [LOADS[:2], [Load(many, 1, 1, 2.0) for many in (1, 2, 3, 4)]])
def test_too_few_cases_or_too_much_alike_make_no_model(loads: list[Load]) -> None:
    with pytest.raises(NotEnough):
        fit([observe(load) for load in loads], worker_cores=1)


def test_machines_are_planned_in_whole_ones_with_air() -> None:
    costs = (Cost(350e-6, 0, 0), Cost(0, 0, 0), Cost(0, 140e-6, 0), Cost(1, 1, 1))
    model = CostModel(*costs, Cost(0, 0, 0), 1)
    needs = plan_machines(model, rate_per_s=10_000, rows_per_batch=10, busy=0.7)
    assert (needs.gateway_processes, needs.engine_workers, needs.cores) == (5, 2, 7)
    little = plan_machines(model, rate_per_s=1, rows_per_batch=10, busy=0.7)
    assert (little.gateway_processes, little.engine_workers, little.cores) == (1, 1, 1)
