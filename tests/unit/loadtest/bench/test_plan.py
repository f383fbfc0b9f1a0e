"""Which runs a bench has, and that they fit into the time that is promised."""

from collections import Counter

import pytest

from loadtest.bench.cases import GATEWAYS, Case, Protocol, TargetName
from loadtest.bench.gpu_cases import make_gpu_plan
from loadtest.bench.plan import FULL, QUICK, Part, make_plan, reckon_s, reckon_steps_s, warm_key
from loadtest.bench.program import Pace, clock
from loadtest.bench.rounds import Step
from loadtest.bench.sweeps import SHARES

LOADED_OPENLY = (*GATEWAYS, TargetName.TORCHSERVE, TargetName.IN_PROCESS)
EVERYTHING = make_plan(list(Part), FULL)
SWEPT = {step.case for step in EVERYTHING.steps if not step.round}


def test_the_full_bench_ends_within_half_an_hour_and_the_quick_one_within_three_minutes() -> None:
    assert reckon_s(EVERYTHING, FULL) < 30 * 60
    assert reckon_s(make_plan([Part.COMPARISONS], QUICK), QUICK) < 3 * 60


@pytest.mark.parametrize("lengths", [FULL, QUICK])
def test_the_same_client_on_both_sides_of_tensorflow_is_always_compared(lengths) -> None:  # type: ignore[no-untyped-def]
    assert "tf-64-grpc" in {comparison.name for comparison in make_plan([Part.COMPARISONS], lengths).comparisons}


def test_every_protocol_number_of_connections_and_size_is_swept() -> None:
    for protocol in (Protocol.JSON, Protocol.BINARY, Protocol.GRPC):
        for connections in (1, 16, 64, 256):
            for rows in (1, 32):
                assert Case(TargetName.GATEWAY_TORCHSERVE, protocol, connections, rows) in SWEPT


@pytest.mark.parametrize("target", GATEWAYS)
def test_growth_goes_to_a_thousand_connections_and_512_images(target: TargetName) -> None:
    assert {Case(target, connections=many) for many in (1, 4, 16, 64, 256, 1000)} <= SWEPT
    assert {Case(target, connections=8, rows=2**power) for power in range(10)} <= SWEPT


def test_a_batch_stands_right_before_the_bare_pass_of_as_many_images() -> None:
    steps = make_plan([Part.BATCHES], FULL).steps
    for through, bare in zip(steps[::2], steps[1::2], strict=True):
        assert bare.case.protocol is Protocol.FORWARD
        assert bare.case.rows == through.case.rows


def test_nothing_is_swept_twice_but_capacities() -> None:
    cases = Counter(step.case for step in EVERYTHING.steps if not step.round)
    assert {case for case, times in cases.items() if times > 1} == {Case(target) for target in LOADED_OPENLY}


def test_an_open_loop_follows_right_after_its_capacity_was_measured() -> None:
    swept = [step.case for step in EVERYTHING.steps if not step.round]
    for target in LOADED_OPENLY:
        at = swept.index(Case(target, share=SHARES[0]))
        assert swept[at - 1 : at + 4] == [Case(target), *(Case(target, share=share) for share in SHARES)]


def test_each_number_of_gateway_processes_is_compared_before_the_next_is_started() -> None:
    counts = [step.case.processes for step in make_plan([Part.PROCESSES], FULL).steps if step.case.processes]
    assert counts == sorted(counts)
    assert set(counts) == {1, 2, 3, 4}


def test_named_comparisons_run_alone() -> None:
    plan = make_plan([Part.COMPARISONS], QUICK, ["forward-32"])
    assert [comparison.name for comparison in plan.comparisons] == ["forward-32"]
    assert plan.targets == {TargetName.GATEWAY_TORCHSERVE, TargetName.RAW_TORCH}
    assert not plan.tuned_connections


def test_gpu_cases_are_all_there() -> None:
    swept = {step.case for step in make_gpu_plan(QUICK).steps if not step.round}
    for rows in (1, 32, 512):
        for connections in (1, 64, 256):
            assert Case(TargetName.GATEWAY_TORCHSERVE, connections=connections, rows=rows) in swept
        for raw in (TargetName.RAW_GPU, TargetName.RAW_GPU_GRAPHS, TargetName.RAW_GPU_HALF_GRAPHS):
            assert Case(raw, Protocol.FORWARD, 1, rows) in swept


def test_what_was_asked_before_needs_no_warm_up_when_time_is_short() -> None:
    step = Step(Case(TargetName.IN_PROCESS))
    cold, warm = (reckon_steps_s([step], QUICK, warmed) for warmed in ([], [warm_key(step.case)]))
    assert cold - warm == QUICK.warmup_s
    assert reckon_steps_s([step, step], QUICK) == cold + warm


def test_time_left_follows_the_pace_so_far() -> None:
    pace = Pace()
    assert pace.left_s(10) == 10
    pace.note(reckoned_s=2, taken_s=3)
    pace.note(reckoned_s=2, taken_s=5)
    assert pace.left_s(10) == 20


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (125, "2:05"), (1800, "30:00")])
def test_time_is_told_in_minutes(seconds: float, text: str) -> None:
    assert clock(seconds) == text
