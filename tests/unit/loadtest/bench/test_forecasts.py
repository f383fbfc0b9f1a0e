"""What the cost model says of a report whose costs are known."""

import msgspec
import pytest

from loadtest.bench.cases import Case, TargetName
from loadtest.bench.cost_tables import cost_model_tables
from loadtest.bench.document import markdown
from loadtest.bench.forecasts import forecast
from loadtest.bench.growth_tables import batch_table, growth_table, process_table
from loadtest.bench.results import Report
from tests.unit.loadtest.bench.reports import full_report

REPORT = full_report()


def rows_of(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_a_model_is_made_for_the_engine_whose_cases_suffice() -> None:
    (only,) = forecast(REPORT)
    assert only.target is TargetName.GATEWAY_TFSERVING
    assert 1e6 * only.model.gateway.per_request_s == pytest.approx(300, rel=0.02)
    assert 1e6 * only.model.worker.per_row_s == pytest.approx(100, rel=0.02)
    assert 1e6 * only.model.worker.per_batch_s == pytest.approx(1000, rel=0.02)


def test_what_was_held_out_is_predicted_and_the_fitted_cases_do_not_count() -> None:
    (only,) = forecast(REPORT)
    held_out = [one for one in only.forecasts if not one.was_fitted]
    assert len(held_out) == len(only.forecasts) - 5
    assert all(one.is_good for one in held_out)
    (verdict,) = (line for line in cost_model_tables(REPORT)["Cost model: predicted and measured"].splitlines()[-1:])
    assert f"within 15 % for {len(held_out)} of {len(held_out)} cases" in verdict


def test_a_case_that_is_off_is_named_with_its_error() -> None:
    odd = Case(TargetName.GATEWAY_TFSERVING, connections=1000)
    slowed = tuple(
        msgspec.structs.replace(run, figures=msgspec.structs.replace(run.figures, requests=run.figures.requests // 2))
        if run.case == odd
        else run
        for run in REPORT.runs
    )
    tables = cost_model_tables(msgspec.structs.replace(REPORT, runs=slowed))
    assert f"not for: {odd} (+" in tables["Cost model: predicted and measured"]


def test_ten_times_the_rate_takes_ten_times_the_machines() -> None:
    plan = rows_of(cost_model_tables(REPORT)["Plan for many machines"].split("\n\n")[0])
    assert [row[1] for row in plan] == ["1,000", "10,000", "100,000"]
    gateways, cores = ([int(row[column].replace(",", "")) for row in plan] for column in (2, 4))
    assert gateways[0] == 1
    assert gateways[2] == pytest.approx(100_000 * 303e-6 / 0.7, rel=0.05)
    assert cores[2] == pytest.approx(cores[1] * 10, rel=0.05)


def test_gateway_processes_are_shown_with_their_ratio_and_costs() -> None:
    rows = rows_of(process_table(REPORT))
    assert [(row[0], row[1]) for row in rows] == [(many, str(n)) for many in ("64", "256") for n in (1, 2, 3, 4)]
    assert rows[0][3].startswith("**2.00**")
    assert float(rows[0][6]) == pytest.approx(306, abs=1)


def test_growth_is_shown_from_one_connection_to_a_thousand() -> None:
    assert [row[1] for row in rows_of(growth_table(REPORT))] == ["1", "4", "16", "64", "256", "1,000"]


def test_batches_are_shown_beside_the_bare_pass() -> None:
    rows = rows_of(batch_table(REPORT))
    assert [row[1] for row in rows][:10] == [str(2**power) for power in range(10)]
    assert len(rows) == 20
    images, bare, share = (float(cell.replace(",", "")) for cell in rows[-1][2:5])
    assert share == pytest.approx(images / bare, abs=0.01)


def test_a_report_reads_the_same_after_it_was_written() -> None:
    again = msgspec.json.decode(msgspec.json.encode(REPORT), type=Report)
    assert markdown(again) == markdown(REPORT)
    for heading in ("Gateway processes", "Connections", "Images a request", "Plan for many machines", "Every case"):
        assert f"### {heading}\n" in markdown(again)
