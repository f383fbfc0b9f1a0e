"""Promote, canary and rollback over fake engines: what is live changes when all is well, and nothing is lost."""

import asyncio
import dataclasses
from collections.abc import Mapping

import pytest

from gateway.core.canary import CanaryLimits
from gateway.core.counts import Counts
from gateway.core.errors import Conflict, InvalidRequest, NotFound, ServingError
from gateway.core.plan import Plan
from gateway.core.ports import PeerReport, VersionState
from gateway.core.published import PublishedVersion
from tests.unit.gateway.adder import ADDER
from tests.unit.gateway.wired_core import Platform, send, until


async def test_a_promote_loads_warms_flips_and_keeps_the_one_before(platform: Platform) -> None:
    record = await platform.promote(3)
    assert (record.state, record.reason, record.from_version) == ("done", "", 2)
    assert list(record.phases) == ["load", "warm", "compare", "flip"]
    assert record.memory_before == {"tfserving": 7}
    assert (platform.model.live, platform.model.previous, platform.model.kept) == (3, 2, (2,))
    assert platform.model.candidate is None
    assert (await platform.ask()).version == 3
    await until(lambda: platform.events.counts["phase flip"] == 1, "the phases are counted")
    assert await platform.held("torchserve") <= {1, 2, 3}


async def test_memory_after_a_swap_is_what_was_measured_after_it(platform: Platform) -> None:
    record = await platform.promote(3)
    assert record.memory_after == {}
    platform.memory = {"tfserving": 9}
    await until(lambda: platform.repository.recorded[record.id].memory_after == {"tfserving": 9}, "it is noted")


async def test_with_keep_0_the_one_before_is_unloaded_once_its_last_request_is_answered(platform: Platform) -> None:
    slow = platform.engines["torchserve"]
    slow.gate.clear()
    slow.asked.clear()
    request = asyncio.create_task(platform.ask(engine="torchserve"))
    await asyncio.wait_for(slow.asked.wait(), 5)
    begun = await platform.rollouts.promote("adder", Plan(3, keep=0, engines=("tfserving",)))
    await until(lambda: platform.rollouts.last("adder").phase == "drain", "it waits for the request")  # type: ignore[union-attr]
    assert 2 in await platform.held("torchserve")
    assert platform.model.live == 3
    slow.gate.set()
    assert (await request).version == 2
    record = await platform.rollouts.wait("adder", begun)
    assert (record.state, list(record.phases)) == ("done", ["load", "warm", "compare", "flip", "drain", "unload"])
    assert await platform.held("torchserve") == await platform.held("tfserving") == {3}
    platform.events.assert_balanced()


async def test_a_version_is_unloaded_only_when_the_engine_was_told(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = platform.engines["torchserve"]
    serve, is_told, may_do = slow.serve, asyncio.Event(), asyncio.Event()

    async def serve_late(desired: Mapping[str, frozenset[int]]) -> None:
        if 2 not in desired["adder"]:
            is_told.set()
            await may_do.wait()
        await serve(desired)

    monkeypatch.setattr(slow, "serve", serve_late)
    promote = asyncio.create_task(platform.promote(3, keep=0))
    await asyncio.wait_for(is_told.wait(), 10)
    assert platform.keeper.observed["torchserve"]["adder", 2].state is VersionState.UNLOADING
    assert not promote.done()
    may_do.set()
    record = await promote
    assert (record.state, record.reason) == ("done", "")
    assert await platform.held("torchserve") == {3}


async def test_nothing_is_lost_while_versions_alternate(platform: Platform) -> None:
    is_over = False
    versions: list[int] = []

    async def client() -> None:
        while not is_over:
            versions.append((await platform.ask()).version)
            await asyncio.sleep(0)

    clients = [asyncio.create_task(client()) for _ in range(4)]
    for version in (3, 2, 3, 2, 3):
        assert (await platform.promote(version, keep=0)).state == "done"
    is_over = True
    await asyncio.gather(*clients)
    assert set(versions) == {2, 3}
    platform.events.assert_balanced()
    assert platform.events.counts["failed"] == 0


async def test_promoting_the_live_version_changes_nothing_but_what_is_kept(platform: Platform) -> None:
    record = await platform.promote(2, keep=0)
    assert (record.state, record.reason) == ("done", "it was live already")
    assert (platform.model.live, platform.model.kept) == (2, ())


@pytest.mark.parametrize(
    ("plan", "kind", "said"),
    [
        (Plan(9), NotFound, "unknown version 9 of model 'adder': expected one of [1, 2, 3]"),
        (Plan(3, engines=("onnx",)), InvalidRequest, "unknown engine 'onnx'"),
        (Plan(3, canary=(0.5, 0.1)), InvalidRequest, "expected rising shares"),
        (Plan(3, canary=(0.0, 0.1)), InvalidRequest, "expected rising shares"),
    ],
)
async def test_orders_that_cannot_be_carried_out(
    platform: Platform, plan: Plan, kind: type[ServingError], said: str
) -> None:
    with pytest.raises(kind) as error:
        await platform.rollouts.promote("adder", plan)
    assert said in error.value.message
    assert platform.repository.recorded == {}


async def test_a_canary_needs_the_live_versions_signature(platform: Platform) -> None:
    other = dataclasses.replace(ADDER, inputs=ADDER.inputs[:1])
    versions = {**platform.model.versions, 3: PublishedVersion(3, other, None)}
    platform.repository.models = (dataclasses.replace(platform.model, versions=versions),)
    with pytest.raises(InvalidRequest) as error:
        await platform.rollouts.promote("adder", Plan(3, canary=(0.5,)))
    assert "another signature" in error.value.message


async def test_one_change_at_a_time_and_who_holds_it(platform: Platform) -> None:
    platform.engines["tfserving"].is_loading = True
    begun = await platform.rollouts.promote("adder", Plan(3))
    with pytest.raises(Conflict) as error:
        await platform.rollouts.promote("adder", Plan(1))
    assert "version 3 of adder is being rolled out already, by gateway here" in error.value.message
    platform.engines["tfserving"].is_loading = False
    assert (await platform.rollouts.wait("adder", begun)).state == "done"


async def test_a_promote_waits_for_every_gateway_process(platform: Platform) -> None:
    platform.peers.reports = {"there": PeerReport({"torchserve": frozenset({("adder", 3)})}, {}, {})}
    begun = await platform.rollouts.promote("adder", Plan(3))
    await until(lambda: platform.rollouts.last("adder").phase == "warm", "loaded here")  # type: ignore[union-attr]
    assert platform.model.live == 2
    everywhere = {name: frozenset({("adder", 3)}) for name in platform.engines}
    platform.peers.reports = {"there": PeerReport(everywhere, {("adder", 3): Counts()}, {"adder": 2})}
    await until(lambda: platform.rollouts.last("adder").phase == "flip", "flipped here")  # type: ignore[union-attr]
    assert (await platform.ask()).version == 3
    platform.peers.reports = {"there": PeerReport(everywhere, {}, {"adder": 3})}
    assert (await platform.rollouts.wait("adder", begun)).state == "done"


async def test_a_canary_goes_through_its_steps(platform: Platform) -> None:
    stop = asyncio.Event()
    clients = [asyncio.create_task(send(platform, stop)) for _ in range(4)]
    plan = {"canary": (0.1, 0.5, 1.0), "hold_s": 0.05, "limits": CanaryLimits(max_p99_ratio=1000)}
    record = await platform.promote(3, **plan)
    stop.set()
    await asyncio.gather(*clients)
    assert (record.state, record.reason) == ("done", "")
    assert "canary" in record.phases
    platform.events.assert_balanced()
    assert platform.events.counts["failed"] == 0


async def test_rollback_is_one_write_and_goes_both_ways(platform: Platform) -> None:
    await platform.promote(3)
    record = await platform.rollouts.roll_back("adder")
    assert (record.state, record.kind, list(record.phases)) == ("done", "rollback", ["flip"])
    assert (platform.model.live, platform.model.previous, platform.model.kept) == (2, 3, (3,))
    assert (await platform.ask()).version == 2
    await platform.rollouts.roll_back("adder")
    assert platform.model.live == 3


async def test_rollback_loads_what_is_not_kept(platform: Platform) -> None:
    await platform.promote(3, keep=0)
    begun = await platform.rollouts.roll_back("adder", keep=0)
    record = await platform.rollouts.wait("adder", begun)
    assert (record.state, record.kind) == ("done", "rollback")
    assert "load" in record.phases
    assert (platform.model.live, platform.model.previous) == (2, 3)


async def test_rollback_without_a_version_before(platform: Platform) -> None:
    with pytest.raises(Conflict):
        await platform.rollouts.roll_back("adder")


async def test_rollback_withdraws_what_is_on_its_way(platform: Platform) -> None:
    platform.engines["tfserving"].is_loading = True
    begun = await platform.rollouts.promote("adder", Plan(3))
    record = await platform.rollouts.roll_back("adder")
    assert (record.state, record.reason) == ("done", "version 3 was withdrawn before it went live")
    ended = await platform.rollouts.wait("adder", begun)
    assert (ended.state, platform.model.live) == ("failed", 2)
    assert "withdrawn" in ended.reason


async def test_routing_is_changed_and_checked(platform: Platform) -> None:
    model = await platform.rollouts.set_routing("adder", {"torchserve": 1.0}, {"tfserving": 0.1})
    assert (model.weights, model.mirror) == ({"torchserve": 1.0}, {"tfserving": 0.1})
    answers = [await platform.ask() for _ in range(4)]
    assert {answer.engine for answer in answers} == {"torchserve"}
    model = await platform.rollouts.set_routing("adder", None, {"tfserving": 0.0})
    assert (model.weights, model.mirror) == ({"torchserve": 1.0}, {})
    for weights, mirror in (
        ({"onnx": 1.0}, None),
        ({"torchserve": -1.0}, None),
        ({}, None),
        (None, {"tfserving": 2.0}),
        (None, {"torchserve": 0.5}),  # which answers everything itself
        ({"tfserving": 1.0, "torchserve": 0.0}, {"tfserving": 1.0}),
    ):
        with pytest.raises(InvalidRequest):
            await platform.rollouts.set_routing("adder", weights, mirror)
