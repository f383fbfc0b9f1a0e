"""The swap scenario against a gateway that pretends: it does what it says, and notices whatever goes wrong."""

import asyncio
from dataclasses import replace

import pytest

from loadtest.admin import Gateway, OperatorError
from loadtest.swap_report import SwapReport
from loadtest.swap_run import SwapPlan, SwapRun
from tests.platform_process import wait_until_async
from tests.unit.loadtest.fake_gateway import FakeGateway, Faults, fake_gateway, known_answers, nth

PLAN = SwapPlan(versions=(1, 2), rate_per_s=300, promotes=4, lead_s=0.1, gap_s=0.05)


def swap_run(gateway: FakeGateway, plan: SwapPlan = PLAN, lines: list[str] | None = None) -> SwapRun:
    say = (lines if lines is not None else []).append
    return SwapRun(plan, gateway.gateway, gateway.target(), known_answers(), say)


async def run_with(faults: Faults, plan: SwapPlan = PLAN) -> SwapReport:
    async with fake_gateway(faults) as gateway:
        return await swap_run(gateway, plan).run()


async def test_versions_take_turns_and_everything_adds_up() -> None:
    lines: list[str] = []
    async with fake_gateway() as gateway:
        report = await swap_run(gateway, lines=lines).run()
        assert gateway.bodies == [{"version": version, "keep": 0} for version in (1, 2, 1, 2)]
    assert report.is_good, report
    assert [(swap.kind, swap.from_version, swap.version) for swap in report.swaps] == [
        ("promote", 2, 1),
        ("promote", 1, 2),
        ("promote", 2, 1),
        ("promote", 1, 2),
    ]
    assert report.offered == report.answered == sum(report.by_version.values()) == gateway.received > 20
    assert set(report.by_version) == {"1", "2"}
    assert {v: ledger.answered for v, ledger in report.ledger.items()} == report.by_version
    assert report.phase_seconds["load"].median_s == pytest.approx(3.0)
    assert [line.split(":")[0] for line in lines[1:-1]] == [
        "1/4 promote 2 to 1",
        "2/4 promote 1 to 2",
        "3/4 promote 2 to 1",
        "4/4 promote 1 to 2",
    ]


@pytest.fixture
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.swap_run.LEDGER_TIMEOUT_S", 0.3)
    monkeypatch.setattr("loadtest.swap_run.FOLLOW_TIMEOUT_S", 0.3)


async def test_a_process_that_follows_late_is_waited_for() -> None:
    report = await run_with(Faults(late_looks=1), replace(PLAN, promotes=2))
    assert report.is_good, report


async def test_a_rollback_after_each_returns_to_the_version_before() -> None:
    async with fake_gateway() as gateway:
        report = await swap_run(gateway, replace(PLAN, promotes=2, is_rolled_back=True)).run()
        assert gateway.live == 2
    assert [(swap.kind, swap.version) for swap in report.swaps] == [
        ("promote", 1),
        ("rollback", 2),
        ("promote", 1),
        ("rollback", 2),
    ]
    assert report.is_good, report
    assert set(report.swap_seconds) == {"promote", "rollback"}


@pytest.mark.parametrize(
    ("faults", "field", "count"),
    [
        (Faults(is_lost=nth(5, 21)), "lost", 2),
        (Faults(is_cut=nth(5)), "lost", 1),
        (Faults(is_refused=nth(5, 6, 7)), "failures", 3),
        (Faults(is_corrupted=nth(20)), "wrong", 1),
        (Faults(is_mislabelled=nth(20)), "wrong", 1),
        (Faults(is_swapped=nth(20)), "wrong", 1),
        (Faults(refused_swaps=frozenset({1})), "failed_swaps", 1),
        (Faults(failed_swaps=frozenset({0, 2})), "failed_swaps", 2),
        (Faults(idle_swaps=frozenset({1})), "failed_swaps", 1),
    ],
)
@pytest.mark.usefixtures("_short_patience")
async def test_each_fault_is_counted_and_spoils_the_run(faults: Faults, field: str, count: int) -> None:
    report = await run_with(faults)
    assert getattr(report, field) == count
    assert not report.is_good
    others = {"lost", "failures", "wrong", "failed_swaps", "not_sent"} - {field}
    assert {name: getattr(report, name) for name in others} == dict.fromkeys(others, 0)
    assert report.ledger_fault == ""
    assert len(report.swaps) == 4, "one fault does not end the run"


@pytest.mark.usefixtures("_short_patience")
async def test_a_request_missing_from_the_ledger_spoils_the_run() -> None:
    report = await run_with(Faults(is_uncounted=nth(20)))
    assert "the gateway answered" in report.ledger_fault
    assert (report.wrong, report.lost, report.failures) == (0, 0, 0)
    assert not report.is_good


async def test_answers_of_the_old_version_after_a_swap_are_told() -> None:
    """They are right answers of the version they name, so nothing else tells."""
    async with fake_gateway() as gateway:
        gateway.faults.is_stale = lambda _: gateway.swaps == 1
        report = await swap_run(gateway, replace(PLAN, promotes=1, gap_s=0.3)).run()
    assert report.stale > 10
    assert report.is_good


@pytest.mark.usefixtures("_short_patience")
async def test_refusals_say_what_the_gateway_said() -> None:
    refused = await run_with(Faults(refused_swaps=frozenset({0})), replace(PLAN, promotes=1))
    assert refused.swaps[0].fault.endswith("answered 409: a change is already under way")
    failed = await run_with(Faults(failed_swaps=frozenset({0})), replace(PLAN, promotes=1))
    assert failed.swaps[0].fault == "promote ended failed: tfserving answers differently"
    idle = await run_with(Faults(idle_swaps=frozenset({0})), replace(PLAN, promotes=1))
    assert idle.swaps[0].fault == "version 2 is live 0.3 s later, expected 1"


async def test_interrupted_it_reports_what_there_is() -> None:
    async with fake_gateway() as gateway:
        interrupted = asyncio.Event()
        run = swap_run(gateway, replace(PLAN, promotes=50))
        running = asyncio.create_task(run.run(interrupted))

        async def has_swapped_twice() -> bool:
            return gateway.swaps >= 2

        await wait_until_async(has_swapped_twice, 20, "two swaps")
        gateway.swap_gate.clear()  # the next will not come back
        done = gateway.swaps

        async def is_next_under_way() -> bool:
            return len(gateway.bodies) == done + 1

        await wait_until_async(is_next_under_way, 20, "the next is under way")
        interrupted.set()
        report = await asyncio.wait_for(running, 20)
        gateway.swap_gate.set()
    assert report.is_interrupted
    assert not report.is_good
    assert [swap.fault for swap in report.swaps] == [*[""] * done, "interrupted"]
    assert report.offered == report.answered > 0
    assert report.ledger_fault == ""


@pytest.mark.long
async def test_latency_inside_a_swap_is_told_apart_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer is held back while a swap is under way: inside is far slower than outside.

    At a rate that a busy machine keeps up with; otherwise everything is slow.
    """
    monkeypatch.setattr("loadtest.swap_report.WARM_UP_S", 0.1)
    async with fake_gateway() as gateway:
        run = swap_run(gateway, replace(PLAN, rate_per_s=100, promotes=2, lead_s=0.7, gap_s=0.6))
        running = asyncio.create_task(run.run())
        for number in range(2):
            gateway.swap_gate.clear()

            async def is_under_way(wanted: int = number + 1) -> bool:
                return len(gateway.bodies) == wanted

            await wait_until_async(is_under_way, 20, "a swap is under way")
            gateway.gate.clear()
            held_since = gateway.received

            async def holds_many(since: int = held_since) -> bool:
                return gateway.received > since + 60

            await wait_until_async(holds_many, 20, "sixty requests wait")
            gateway.gate.set()
            gateway.swap_gate.set()

            async def is_done(wanted: int = number + 1) -> bool:
                return gateway.swaps == wanted

            await wait_until_async(is_done, 20, "the swap is done")
        report = await running
    assert report.is_good, report
    assert report.inside.p99_ms > 100 > report.outside.p50_ms
    assert report.ratio_p99.value is not None
    assert report.ratio_p99.value > 2


async def test_what_cannot_begin_says_why() -> None:
    async with fake_gateway() as gateway:
        run = SwapRun(PLAN, Gateway(gateway.url, "guessed"), gateway.target(), known_answers(), lambda _: None)
        with pytest.raises(OperatorError, match="401"):
            await run.run()
        del gateway.ledgers[1]
        with pytest.raises(OperatorError, match=r"versions \[1\] are not published, only \[2\]"):
            await swap_run(gateway).run()
        assert gateway.received == 0
    with pytest.raises(OperatorError, match="ClientConnectorError"):
        await swap_run(gateway).run()
