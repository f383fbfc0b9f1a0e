"""A report as Markdown."""

import pytest

from loadtest.bench.cases import Case, TargetName
from loadtest.bench.document import markdown
from loadtest.bench.figures import Figures, Latency, Spread
from loadtest.bench.machine import Machine
from loadtest.bench.markdown import number, spread_text, table
from loadtest.bench.results import ComparisonResult, Report, Run
from loadtest.bench.tables import comparison_table, cost_table

MACHINE = Machine(2, "Some CPU", "", 8 << 30, 1.25, "Linux 6", "3.11.7", {"torch": "2.13.0"}, "abc1234")


def figures(requests: int, p50_ms: float = 1.0, errors: int = 0, faults: tuple[str, ...] = ()) -> Figures:
    latency = Latency(p50_ms, 2, 3, 4)
    return Figures(
        "torchserve",
        "wrk",
        requests,
        1,
        1.0,
        latency,
        errors,
        checked=10,
        faults=faults,
        cpu_s={"gateway": requests / 1000},
        resident_bytes={"gateway": 99_000_000},
    )


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.1234, "0.123"), (1.234, "1.23"), (12.34, "12.3"), (1234, "1,234"), (-2, "-2.00")]
)
def test_three_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text


def test_cells_cannot_break_the_table() -> None:
    assert table(["a"], [["x|y"]]).splitlines()[-1] == "| x\\|y |"


def test_a_comparison_shows_median_range_both_sides_and_all_errors() -> None:
    result = ComparisonResult(
        "x-64",
        "A ÷ B",
        "≥ 1",
        "",
        "",
        Spread.of([0.5, 0.7, 0.6]),
        (figures(100, errors=2), figures(300), figures(200)),
        (figures(400),),
    )
    line = cells(comparison_table([result]).splitlines()[-1])
    assert line == [
        "x-64",
        "A ÷ B",
        "**0.600** (0.500 to 0.700)",
        "≥ 1",
        "–",
        "200, 1.00/3.00",
        "400, 1.00/3.00",
        "1.00 (1.00 to 1.00)",
        "2, 0",
    ]


def test_a_comparison_without_a_pair_is_a_dash() -> None:
    assert spread_text(Spread()) == "–"
    assert spread_text(Spread.of([0.5]), "ms").startswith("**0.500 ms**")


def test_a_case_that_ran_several_times_is_one_line_of_medians() -> None:
    lines = cost_table([("case", figures(100, 1)), ("other", figures(7)), ("case", figures(300, 3))]).splitlines()
    assert len(lines) == 4
    assert cells(lines[2])[:7] == [
        "case",
        "torchserve, wrk",
        "200",
        "2.00/2.00/3.00/4.00",
        "0",
        "20, 0",
        "gateway 1.00",
    ]
    assert cells(lines[2])[-1] == "gateway 99"


def test_a_report_says_the_machine_faults_and_that_it_was_interrupted() -> None:
    run = Run(Case(TargetName.TORCHSERVE), figures(10, faults=("3 times 503",)), 0)
    text = markdown(Report(MACHINE, "3 pairs", "2026-01-01", True, (), (run,), {"64": {"32/2": 100.0, "64/1": 200.0}}))
    assert "2 cores of Some CPU, 8 GiB" in text
    assert "Interrupted" in text
    assert "3 times 503" in text
    assert "32/2 100, **64/1 200**" in text


def test_an_empty_report_is_still_one() -> None:
    text = markdown(Report(MACHINE, "3 pairs", "2026-01-01", False, (), (), {}))
    assert text.count("|") == 0
    assert "commit abc1234" in text
