"""The plan: which runs follow each other, and that what issue 7 asks for is there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.bench.cases import Case, Protocol, TargetName
from loadtest.bench.comparisons import COMPARISONS, Comparison
from loadtest.bench.rounds import plan_rounds, plan_steps

BY_NAME = {comparison.name: comparison for comparison in COMPARISONS}
ASKED = """torchserve-64 torchserve-256 in-process-64 tf-64 one-connection forward-32 grpc-64 p99-64 open-loop-50
connections-1000"""


def test_every_comparison_that_was_asked_for_is_there_with_its_limits() -> None:
    for name in ASKED.split():
        assert BY_NAME[name].aim
        assert BY_NAME[name].then


def test_the_sides_of_a_comparison_take_turns() -> None:
    comparison = BY_NAME["in-process-64"]
    steps = list(plan_steps([comparison], 3))
    assert [step.case for step in steps] == [comparison.a, comparison.b] * 3
    assert [step.number for step in steps] == [0, 0, 1, 1, 2, 2]


def test_comparisons_of_the_same_runs_share_them() -> None:
    shared = [BY_NAME["torchserve-64"], BY_NAME["p99-64"]]
    assert len(list(plan_steps(shared, 5))) == 10


def test_capacity_is_measured_before_the_open_loop_that_needs_it() -> None:
    first, second = list(plan_steps([BY_NAME["open-loop-50"]], 1))
    assert first.case.share is None
    assert second.case.share == 0.5


def test_a_shared_side_stands_between_the_two_that_are_compared_with_it() -> None:
    first, second = BY_NAME["torchserve-64"], BY_NAME["in-process-64"]
    assert plan_rounds([first, second]) == [(first.b, first.a, second.b)]


@pytest.mark.parametrize("names", [("open-loop-50", "connections-1000"), ("connections-1000", "open-loop-50")])
def test_a_shared_capacity_stands_between_too(names: tuple[str, str]) -> None:
    assert plan_rounds(BY_NAME[name] for name in names) == [
        (BY_NAME["connections-1000"].a, BY_NAME["open-loop-50"].b, BY_NAME["open-loop-50"].a)
    ]


@given(st.permutations(COMPARISONS), st.integers(1, len(COMPARISONS)))
def test_whatever_is_chosen_both_sides_run_right_after_each_other(chosen: list[Comparison], count: int) -> None:
    rounds = plan_rounds(chosen[:count])
    for comparison in chosen[:count]:
        (found,) = [cases for cases in rounds if {comparison.a, comparison.b} <= set(cases)]
        assert abs(found.index(comparison.a) - found.index(comparison.b)) == 1
        if comparison.a.share:
            assert found.index(comparison.b) < found.index(comparison.a)


@pytest.mark.parametrize(
    ("case", "text"),
    [
        (Case(TargetName.IN_PROCESS), "in-process, HTTP binary, 64 connections, 1 image"),
        (Case(TargetName.RAW_TORCH, Protocol.FORWARD, 1, 32), "raw torch, forward, 32 images"),
        (Case(TargetName.TORCHSERVE, connections=1), "torchserve alone, HTTP binary, 1 connection, 1 image"),
        (Case(TargetName.TORCHSERVE, share=0.5), "torchserve alone, HTTP binary, open loop at 50 %, 1 image"),
        (
            Case(TargetName.GATEWAY_TORCHSERVE, processes=2),
            "gateway→torchserve, HTTP binary, 64 connections, 1 image, 2 gateway processes",
        ),
    ],
)
def test_a_case_reads_as_one_would_say_it(case: Case, text: str) -> None:
    assert str(case) == text
