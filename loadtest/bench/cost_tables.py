"""The cost model, how well it predicts, and what it says of many machines, as tables. Pure."""

from loadtest.bench.cost_model import Cost, plan_machines
from loadtest.bench.forecasts import GOOD_ERROR, Forecast, Forecasts, forecast
from loadtest.bench.markdown import number, table
from loadtest.bench.results import Report

RATES_PER_S = (1_000, 10_000, 100_000)
BUSY = 0.7
"""Whoever plans machines leaves them some air: queues grow without end as a server nears its limit."""


def cost_model_tables(report: Report) -> dict[str, str]:
    """Bodies by their headings; none where too little was measured."""
    found = forecast(report)
    if not found:
        return {}
    return {
        "Cost model: what a request costs": "\n\n".join((_costs_table(found), _COSTS_NOTE)),
        "Cost model: predicted and measured": "\n\n".join((_errors_table(found), *map(_verdict, found))),
        "Plan for many machines": "\n\n".join((_plan_table(found), _plan_note(found))),
    }


_COSTS_NOTE = (
    "A batch of n images costs the engine a·n + b. TorchServe's frontend is Java's process. Turns: how much time of "
    "the engine's turns goes by for each, whoever works or waits meanwhile; throughput is predicted from that."
)


def _costs_table(found: list[Forecasts]) -> str:
    rows = []
    for each in found:
        model = each.model
        parts = {
            "gateway": model.gateway,
            "engine's frontend": model.frontend,
            "engine's worker": model.worker,
            "load generator": model.generator,
            "the engine's turns (time)": model.turn,
        }
        rows += [(str(each.target), name, *_cost_cells(cost)) for name, cost in parts.items()]
    return table(("what", "part", "µs a request", "µs an image (a)", "µs a batch (b)"), rows)


def _cost_cells(cost: Cost) -> tuple[str, str, str]:
    request, row, batch = (number(1e6 * s) for s in (cost.per_request_s, cost.per_row_s, cost.per_batch_s))
    return request, row, batch


def _errors_table(found: list[Forecasts]) -> str:
    head = (
        "case",
        "images a batch",
        "predicted CPU µs a request",
        "measured",
        "predicted req/s",
        "measured",
        "error",
        "bound by",
        "within 15 %",
    )
    return table(head, [_error_row(one) for each in found for one in each.forecasts])


def _error_row(one: Forecast) -> tuple[str, ...]:
    within = "fitted" if one.was_fitted else "yes" if one.is_good else "no"
    return (
        str(one.case),
        number(one.observed.load.rows_per_batch),
        number(1e6 * one.spent.server_s),
        number(1e6 * one.observed.spent.server_s),
        f"{one.requests_per_s:,.0f}",
        f"{one.observed.requests_per_s:,.0f}",
        f"{one.error * 100:+.0f} %",
        str(one.limit),
        within,
    )


def _verdict(each: Forecasts) -> str:
    held_out = [one for one in each.forecasts if not one.was_fitted]
    good = [one for one in held_out if one.is_good]
    missed = "; ".join(f"{one.case} ({one.error * 100:+.0f} %)" for one in held_out if not one.is_good)
    within = f"within {GOOD_ERROR * 100:.0f} %"
    said = f"{each.target}: {within} for {len(good)} of {len(held_out)} cases that were held out"
    return f"{said}; not for: {missed}." if missed else f"{said}."


def _plan_table(found: list[Forecasts]) -> str:
    rows = []
    for each in found:
        for rate in RATES_PER_S:
            needs = plan_machines(each.model, rate, each.rows_per_batch, BUSY)
            counts = (needs.gateway_processes, needs.engine_workers, needs.cores)
            rows.append((str(each.target), f"{rate:,}", *(f"{count:,}" for count in counts)))
    return table(("what", "requests a second", "gateway processes", "engine workers", "cores in all"), rows)


def _plan_note(found: list[Forecasts]) -> str:
    sizes = ", ".join(f"{number(each.rows_per_batch)} ({each.target})" for each in found)
    cores = ", ".join(f"{number(each.model.worker_cores)} ({each.target})" for each in found)
    return (
        f"One image a request over HTTP binary, in the largest batches that single images were seen in: {sizes}; "
        f"everything busy for {BUSY * 100:.0f} % of its time; cores like this machine's; without load generators, "
        f"networks between machines and spares for those that fail. Cores that an engine worker computes on: {cores}."
    )
