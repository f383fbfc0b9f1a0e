"""Sick versions, sick engines, full disks, and gateways stopped half way: the live version goes on answering."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import numpy as np
import pytest

from gateway.core.canary import CanaryLimits
from gateway.core.errors import Conflict, EngineFailed, RepositoryFailed, Unavailable
from gateway.core.messages import EngineBatch
from gateway.core.plan import Plan
from gateway.core.published import Rollout
from gateway.core.tensors import Tensor
from tests.unit.gateway.adder import LedgerEvents, add
from tests.unit.gateway.wired_core import Platform, running, send, until

Infer = Callable[[EngineBatch], Awaitable[Mapping[str, Tensor]]]


async def test_a_damaged_version_is_refused_and_the_reason_stays(platform: Platform) -> None:
    platform.repository.damage = {3: "adder.mar was changed"}
    with pytest.raises(Conflict) as error:
        await platform.rollouts.promote("adder", Plan(3))
    assert "is not what was published: adder.mar was changed" in error.value.message
    assert platform.rollouts.problems("adder")[3] == "adder.mar was changed"
    assert (platform.model.live, platform.model.candidate) == (2, None)


async def test_an_engine_that_is_down_stops_a_promote_unless_it_is_left_out(platform: Platform) -> None:
    platform.engines["tfserving"].is_reachable = False
    await until(lambda: "tfserving" not in platform.keeper.observed, "it is lost")
    with pytest.raises(Unavailable) as error:
        await platform.rollouts.promote("adder", Plan(3))
    assert "tfserving cannot load it now" in error.value.message
    assert (await platform.promote(3, engines=("torchserve",))).state == "done"
    assert (await platform.ask()).version == 3
    platform.engines["tfserving"].is_reachable = True
    await until(lambda: ("adder", 3) in platform.keeper.observed.get("tfserving", {}), "it follows once it is back")


async def test_wrong_golden_answers_leave_the_live_version_untouched(platform: Platform) -> None:
    platform.answer_with(3, np.full((64, 2), 5, np.float32))
    record = await platform.promote(3)
    assert record.state == "failed"
    assert "answers its golden inputs wrongly: sum differs by 3" in record.reason
    assert (platform.model.live, platform.model.candidate) == (2, None)
    assert platform.rollouts.problems("adder")[3] == record.reason
    assert (await platform.ask()).version == 2
    await until(lambda: ("adder", 3) not in platform.keeper.observed["torchserve"], "it is unloaded")


async def test_a_version_that_crashes_when_asked_does_not_take_the_engine_along(platform: Platform) -> None:
    platform.answer_with(3, EngineFailed("it crashed"))
    record = await platform.promote(3)
    assert (record.state, platform.model.live) == ("failed", 2)
    assert "its warm-up failed: it crashed" in record.reason
    assert set(platform.keeper.observed) == {"torchserve", "tfserving"}


async def test_a_version_that_never_loads_fails_in_time(platform: Platform) -> None:
    platform.engines["torchserve"].is_loading = True
    record = await platform.promote(3, load_timeout_s=0.5)
    assert record.state == "failed"
    assert record.reason == "not within 0.5 s: torchserve loading, tfserving ready"


async def test_a_much_slower_version_is_refused(platform: Platform) -> None:
    busy = platform.engines["torchserve"]

    def crawl(batch: EngineBatch) -> Mapping[str, Tensor]:
        if batch.version == 3:
            sum(range(300_000))
        return add(batch)

    busy.answer = crawl
    record = await platform.promote(3)
    assert record.state == "failed"
    assert "torchserve takes" in record.reason
    assert "times as long with it as with version 2; allowed is 5 times" in record.reason
    assert platform.model.live == 2


@pytest.mark.long
@pytest.mark.parametrize("stall_s", [0.0, 0.2])
async def test_a_slow_canary_that_holds_up_all_clients_is_compared_with_the_time_before(
    platform: Platform, stall_s: float
) -> None:
    """Its clients wait for it, so the live version hardly answers anybody while it runs.

    What is slow depends on the machine, which may stop for a while just when the canary begins.
    """
    for _ in range(120):
        await platform.ask()
    clock = asyncio.get_running_loop().time
    record_well = platform.repository.record

    async def stall(model: str, rollout: Rollout) -> None:
        if rollout.phase.startswith("canary") and rollout.state == "running":
            time.sleep(stall_s)  # noqa: ASYNC251 - so that nothing else goes on
        await record_well(model, rollout)

    platform.repository.record = stall  # type: ignore[method-assign]

    def is_slow(since: float) -> bool:
        """Whether it has taken well over three times as long as any answer of the live version."""
        slowest_s = platform.ledger.of("adder", 2).quantile_s(1.0)
        assert slowest_s is not None
        return clock() - since > max(0.2, 5 * slowest_s)

    for engine in platform.engines.values():

        async def crawl(batch: EngineBatch, infer: Infer = engine.infer) -> Mapping[str, Tensor]:
            if batch.version == 3 and batch.inputs["a"][0, 0] == 9:
                since = clock()
                await until(lambda: is_slow(since), "it is slow")
            return await infer(batch)

        engine.infer = crawl  # type: ignore[method-assign]
    stop = asyncio.Event()
    clients = [asyncio.create_task(send(platform, stop, value=9)) for _ in range(20)]
    record = await platform.promote(3, canary=(1.0,), hold_s=0.5, limits=CanaryLimits(min_samples=20))
    stop.set()
    await asyncio.gather(*clients)
    assert record.state == "failed"
    assert "answers took longer than" in record.reason
    assert platform.model.live == 2


async def test_a_canary_that_fails_is_rolled_back_within_its_step(platform: Platform) -> None:
    def moody(batch: EngineBatch) -> Mapping[str, Tensor]:
        if batch.version == 3 and batch.inputs["a"][0, 0] == 9:
            raise EngineFailed("no nines")
        return add(batch)

    for engine in platform.engines.values():
        engine.answer = moody
    stop = asyncio.Event()
    clients = [asyncio.create_task(send(platform, stop, value=9)) for _ in range(4)]
    record = await platform.promote(3, canary=(0.2, 1.0), hold_s=30)
    stop.set()
    await asyncio.gather(*clients)
    assert record.state == "failed"
    assert "rolled back at a share of 20%" in record.reason
    assert "requests failed (100.0%)" in record.reason
    assert (platform.model.live, platform.model.candidate) == (2, None)
    platform.events.assert_balanced()


async def test_a_canary_on_which_the_engines_disagree_is_rolled_back(platform: Platform) -> None:
    """It answered its golden inputs well, and begins to answer wrongly under traffic, on one engine."""

    def drifting(batch: EngineBatch) -> Mapping[str, Tensor]:
        off = 1 if batch.version == 3 and batch.inputs["a"][0, 0] == 9 else 0
        return {"sum": add(batch)["sum"] + off}

    platform.engines["torchserve"].answer = drifting
    stop = asyncio.Event()
    clients = [asyncio.create_task(send(platform, stop, value=9)) for _ in range(4)]
    record = await platform.promote(3, canary=(0.5, 1.0), hold_s=30)
    stop.set()
    await asyncio.gather(*clients)
    assert record.state == "failed"
    assert "the engines disagreed on" in record.reason
    assert platform.model.live == 2


async def test_a_version_deleted_on_its_way_does_not_go_live(platform: Platform) -> None:
    platform.engines["tfserving"].is_loading = True
    begun = await platform.rollouts.promote("adder", Plan(3))
    versions = {number: version for number, version in platform.model.versions.items() if number != 3}
    platform.repository.models = (dataclasses.replace(platform.model, versions=versions),)
    ended = await asyncio.wait_for(platform.rollouts.wait("adder", begun), 10)
    assert (ended.state, ended.reason) == ("failed", "version 3 has left the repository")
    assert (platform.model.live, platform.model.candidate) == (2, None)


async def test_a_version_that_is_being_unloaded_is_loaded_again_before_it_goes_live(platform: Platform) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()
    tfserving = platform.engines["tfserving"]
    serve = tfserving.serve

    async def slow_to_unload(desired: Mapping[str, frozenset[int]]) -> None:
        if 2 not in desired["adder"]:
            begun.set()
            await gate.wait()
        await serve(desired)

    tfserving.serve = slow_to_unload  # type: ignore[method-assign]
    await platform.rollouts.promote("adder", Plan(3, keep=0))
    await asyncio.wait_for(begun.wait(), 5)
    back = asyncio.create_task(platform.rollouts.roll_back("adder"))
    gate.set()
    with suppress(Conflict):
        await platform.rollouts.wait("adder", await back)
    await until(lambda: platform.keeper.is_ready, "whatever is live can be answered")
    assert (await platform.ask()).version == platform.model.live


async def test_a_sick_live_version_does_not_keep_its_cure_out(platform: Platform) -> None:
    platform.answer_with(2, EngineFailed("it is sick"))
    assert (await platform.promote(3)).state == "done"
    platform.answer_with(3, EngineFailed("this one too"))
    await platform.rollouts.stop_keeping("adder", 2)
    await until(lambda: ("adder", 2) not in platform.keeper.observed["torchserve"], "it is unloaded")
    begun = await platform.rollouts.roll_back("adder")
    assert (await platform.rollouts.wait("adder", begun)).state == "done"
    assert platform.model.live == 2


async def test_what_was_done_stands_even_when_it_cannot_be_recorded(platform: Platform) -> None:
    async def full(model: str, rollout: Rollout) -> None:
        raise RepositoryFailed("no space left on the device")

    record, platform.repository.record = platform.repository.record, full  # type: ignore[method-assign]
    await platform.promote(3)
    assert platform.model.live == 3
    assert (await platform.rollouts.roll_back("adder")).state == "done"
    assert platform.model.live == 2
    platform.repository.record = record  # type: ignore[method-assign]
    assert (await platform.promote(3)).state == "done"


async def test_a_record_that_could_not_be_ended_is_ended_later(platform: Platform) -> None:
    record = platform.repository.record

    async def full_at_the_end(model: str, rollout: Rollout) -> None:
        if rollout.state != "running":
            raise RepositoryFailed("no space left on the device")
        await record(model, rollout)

    platform.repository.record = full_at_the_end  # type: ignore[method-assign]
    begun = await platform.rollouts.promote("adder", Plan(3))
    await until(lambda: platform.model.live == 3, "it is live")
    platform.repository.record = record  # type: ignore[method-assign]
    await until(lambda: platform.repository.recorded[begun.id].state == "done", "whoever tends ends it")


async def test_being_stopped_withdraws_the_candidate(events: LedgerEvents) -> None:
    platform = Platform(events)
    async with running(platform):
        platform.engines["tfserving"].is_loading = True
        await platform.rollouts.promote("adder", Plan(3))
    assert (platform.model.live, platform.model.candidate) == (2, None)
    (record,) = platform.repository.recorded.values()
    assert (record.state, record.reason) == ("failed", "the gateway that ran it was stopped")
    assert not platform.rollouts.problems("adder"), "which says nothing against the version"


async def test_being_stopped_after_the_flip_is_no_failure(events: LedgerEvents) -> None:
    platform = Platform(events)
    async with running(platform):
        platform.engines["torchserve"].gate.clear()
        request = asyncio.create_task(platform.ask(timeout_s=1, engine="torchserve"))
        await asyncio.wait_for(platform.engines["torchserve"].asked.wait(), 5)
        await platform.rollouts.promote("adder", Plan(3, keep=0, engines=("tfserving",)))
        await until(lambda: platform.model.live == 3, "it is live")
    (record,) = platform.repository.recorded.values()
    assert record.state == "done"
    platform.engines["torchserve"].gate.set()
    await asyncio.gather(request, return_exceptions=True)
