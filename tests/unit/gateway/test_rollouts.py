"""Promote, canary and rollback over fake engines: what is live changes only when all is well, and nothing is lost."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np
import pytest

from gateway.core.canary import CanaryLimits
from gateway.core.counts import Counts, Ledger
from gateway.core.errors import (
    Conflict,
    EngineFailed,
    InvalidRequest,
    NotFound,
    RepositoryFailed,
    ServingError,
    Unavailable,
)
from gateway.core.inference import Inference, Patience
from gateway.core.keeper import Keeper, KeeperLimits
from gateway.core.messages import EngineBatch
from gateway.core.mirror import Mirror, MirrorLimits
from gateway.core.ports import PeerReport
from gateway.core.promotion import Plan, Surroundings
from gateway.core.published import CandidateVersion, Golden, PublishedModel, PublishedVersion, Rollout
from gateway.core.rollouts import Rollouts
from gateway.core.router import Router
from gateway.core.tensors import Tensor
from gateway.engines.fake import FakeEngine
from tests.platform_process import wait_until_async
from tests.unit.gateway.adder import ADDER, LedgerEvents, MemoryPeers, MemoryRepository, add, ask, published

Infer = Callable[[EngineBatch], Awaitable[Mapping[str, Tensor]]]
LIMITS = KeeperLimits(repository_interval_s=0.01, probe_interval_s=0.02, busy_interval_s=0.01)
ROWS = {name: np.ones((4, 2), np.float32) for name in ("a", "b")}
GOLDEN = Golden(ROWS, {"sum": np.full((4, 2), 2, np.float32)})


class Platform:
    """The whole core over two fake engines, running."""

    def __init__(self, events: LedgerEvents) -> None:
        self.engines = {name: FakeEngine(name, add) for name in ("torchserve", "tfserving")}
        self.repository = MemoryRepository(published(live=2, versions=(1, 2, 3)))
        self.repository.golden = GOLDEN
        self.peers = MemoryPeers()
        self.events = events
        self.memory = {"tfserving": 7}
        ledger = Ledger()
        router = Router(tuple(self.engines))
        self.keeper = Keeper(self.engines.values(), self.repository, self.peers, router, events, LIMITS, ledger)
        self.mirror = Mirror(ledger, events, MirrorLimits())
        self.inference = Inference(router, ledger, events, self.keeper.doubt, Patience(5), self.mirror)
        self.rollouts = Rollouts(
            Surroundings(self.engines, self.repository, self.keeper, self.peers, ledger, events, lambda: self.memory)
        )

    @property
    def model(self) -> PublishedModel:
        return self.repository.models[0]

    async def promote(self, version: int, **plan: Any) -> Rollout:
        begun = await self.rollouts.promote("adder", Plan(version, **plan))
        return await asyncio.wait_for(self.rollouts.wait("adder", begun), 10)

    async def held(self, engine: str) -> set[int]:
        return {version for _, version in await self.engines[engine].observe(frozenset({"adder"}))}

    def answer_with(self, version: int, value: Tensor | ServingError) -> None:
        """Let the fakes answer this version's requests with something else."""

        def answer(batch: EngineBatch) -> Mapping[str, Tensor]:
            if batch.version != version:
                return add(batch)
            if isinstance(value, ServingError):
                raise value
            return {"sum": value[: len(batch.inputs["a"])]}

        for engine in self.engines.values():
            engine.answer = answer


@asynccontextmanager
async def running(platform: Platform) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(platform.keeper.run()), asyncio.create_task(platform.rollouts.run())]
    try:
        await until(lambda: platform.keeper.is_ready, "both engines are ready")
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await platform.keeper.close()


async def until(condition: Any, what: str) -> None:
    async def holds() -> bool:
        return bool(condition())

    await wait_until_async(holds, 5, what)


@pytest.fixture
async def platform(events: LedgerEvents) -> AsyncIterator[Platform]:
    platform = Platform(events)
    async with running(platform):
        yield platform


async def test_a_promote_loads_warms_flips_and_keeps_the_one_before(platform: Platform) -> None:
    record = await platform.promote(3)
    assert (record.state, record.reason, record.from_version) == ("done", "", 2)
    assert list(record.phases) == ["load", "warm", "compare", "flip"]
    assert record.memory_before == {"tfserving": 7}
    assert (platform.model.live, platform.model.previous, platform.model.kept) == (3, 2, (2,))
    assert platform.model.candidate is None
    assert (await platform.inference.infer(ask())).version == 3
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
    request = asyncio.create_task(platform.inference.infer(dataclasses.replace(ask(), engine="torchserve")))
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


async def test_nothing_is_lost_while_versions_alternate(platform: Platform) -> None:
    is_over = False
    versions: list[int] = []

    async def client() -> None:
        while not is_over:
            versions.append((await platform.inference.infer(ask())).version)
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


async def test_being_stopped_after_the_flip_is_no_failure(events: LedgerEvents) -> None:
    platform = Platform(events)
    async with running(platform):
        platform.engines["torchserve"].gate.clear()
        request = asyncio.create_task(
            platform.inference.infer(dataclasses.replace(ask(timeout_s=1), engine="torchserve"))
        )
        await asyncio.wait_for(platform.engines["torchserve"].asked.wait(), 5)
        await platform.rollouts.promote("adder", Plan(3, keep=0, engines=("tfserving",)))
        await until(lambda: platform.model.live == 3, "it is live")
    (record,) = platform.repository.recorded.values()
    assert record.state == "done"
    platform.engines["torchserve"].gate.set()
    await asyncio.gather(request, return_exceptions=True)


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
    assert (await platform.inference.infer(ask())).version == platform.model.live


async def test_one_change_at_a_time_and_who_holds_it(platform: Platform) -> None:
    platform.engines["tfserving"].is_loading = True
    begun = await platform.rollouts.promote("adder", Plan(3))
    with pytest.raises(Conflict) as error:
        await platform.rollouts.promote("adder", Plan(1))
    assert "version 3 of adder is being rolled out already, by gateway here" in error.value.message
    platform.engines["tfserving"].is_loading = False
    assert (await platform.rollouts.wait("adder", begun)).state == "done"


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
    assert (await platform.inference.infer(ask())).version == 3
    platform.engines["tfserving"].is_reachable = True
    await until(lambda: ("adder", 3) in platform.keeper.observed.get("tfserving", {}), "it follows once it is back")


async def test_wrong_golden_answers_leave_the_live_version_untouched(platform: Platform) -> None:
    platform.answer_with(3, np.full((64, 2), 5, np.float32))
    record = await platform.promote(3)
    assert record.state == "failed"
    assert "answers its golden inputs wrongly: sum differs by 3" in record.reason
    assert (platform.model.live, platform.model.candidate) == (2, None)
    assert platform.rollouts.problems("adder")[3] == record.reason
    assert (await platform.inference.infer(ask())).version == 2
    await until(lambda: ("adder", 3) not in platform.keeper.observed["torchserve"], "it is unloaded")


async def test_a_version_that_crashes_when_asked_does_not_take_the_engine_along(platform: Platform) -> None:
    platform.answer_with(3, EngineFailed("it crashed"))
    record = await platform.promote(3)
    assert (record.state, platform.model.live) == ("failed", 2)
    assert "its warm-up failed: it crashed" in record.reason
    assert set(platform.keeper.observed) == {"torchserve", "tfserving"}


async def test_a_version_that_never_loads_fails_in_time(platform: Platform) -> None:
    platform.engines["torchserve"].is_loading = True
    record = await platform.promote(3, load_timeout_s=0.1)
    assert record.state == "failed"
    assert record.reason == "not within 0.1 s: torchserve loading, tfserving ready"


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


async def send(platform: Platform, stop: asyncio.Event, value: float = 1) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        with suppress(ServingError):
            await platform.inference.infer(dataclasses.replace(ask(value=value), route_key=str(number)))
        await asyncio.sleep(0)


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


async def test_a_slow_canary_that_holds_up_all_clients_is_compared_with_the_time_before(platform: Platform) -> None:
    """Its clients wait for it, so the live version hardly answers anybody while it runs."""
    for _ in range(120):
        await platform.inference.infer(ask())
    loop = asyncio.get_running_loop()

    for engine in platform.engines.values():

        async def crawl(batch: EngineBatch, infer: Infer = engine.infer) -> Mapping[str, Tensor]:
            if batch.version == 3 and batch.inputs["a"][0, 0] == 9:
                late = loop.create_future()
                loop.call_later(0.2, late.set_result, None)
                await late
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


async def test_rollback_is_one_write_and_goes_both_ways(platform: Platform) -> None:
    await platform.promote(3)
    record = await platform.rollouts.roll_back("adder")
    assert (record.state, record.kind, list(record.phases)) == ("done", "rollback", ["flip"])
    assert (platform.model.live, platform.model.previous, platform.model.kept) == (2, 3, (3,))
    assert (await platform.inference.infer(ask())).version == 2
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


async def test_what_a_dead_gateway_left_is_cleaned_up(platform: Platform) -> None:
    """Killed before the flip: the candidate goes. Killed after it: the rollout is done."""
    left = Rollout("r1", "promote", 3, 2, "dead-1", started_at=0.0, phase="warm")
    await platform.repository.record("adder", left)
    candidate = CandidateVersion(3, "r1", "dead-1", expires_at=2e12)
    platform.repository.models = (dataclasses.replace(platform.model, candidate=candidate),)
    await until(lambda: platform.repository.recorded["r1"].state == "failed", "it is ended")
    assert platform.model.candidate is None
    assert platform.repository.recorded["r1"].reason == "the gateway that ran it died"

    await platform.repository.record("adder", Rollout("r2", "promote", 2, 1, "dead-1", started_at=0.0, phase="drain"))
    await until(lambda: platform.repository.recorded["r2"].state == "done", "it went live before")


async def test_what_a_dead_gateway_flipped_with_its_last_breath_is_done(platform: Platform) -> None:
    """The leader has read the candidate; before it withdraws it, the owner, dead by now, had made it live."""
    candidate = CandidateVersion(3, "r1", "dead-1", expires_at=2e12)
    withdraw = platform.repository.change

    async def flip_before(model: str, change: Callable[[PublishedModel], PublishedModel]) -> None:
        platform.repository.models = (dataclasses.replace(platform.model, live=3, previous=2, candidate=None),)
        await withdraw(model, change)

    platform.repository.change = flip_before  # type: ignore[method-assign]
    await platform.repository.record("adder", Rollout("r1", "promote", 3, 2, "dead-1", started_at=0.0, phase="flip"))
    platform.repository.models = (dataclasses.replace(platform.model, candidate=candidate),)
    await until(lambda: platform.repository.recorded["r1"].state != "running", "it is ended")
    assert (platform.repository.recorded["r1"].state, platform.model.live) == ("done", 3)


async def test_after_a_dead_gateway_the_repository_is_changed_once_which_removes_what_it_half_wrote(
    platform: Platform,
) -> None:
    changed = asyncio.Event()
    really = platform.repository.change

    async def seen(model: str, change: Callable[[PublishedModel], PublishedModel]) -> None:
        await really(model, change)
        changed.set()

    platform.repository.change = seen  # type: ignore[method-assign]
    await platform.repository.record("adder", Rollout("r1", "promote", 2, 1, "dead-1", started_at=0.0, phase="drain"))
    await asyncio.wait_for(changed.wait(), 5)
    assert platform.repository.recorded["r1"].state == "done"


async def test_a_living_gateways_rollout_is_left_alone_until_its_claim_runs_out(platform: Platform) -> None:
    platform.peers.reports = {"there": PeerReport({}, {}, {})}
    long_ago = CandidateVersion(3, "r1", "there", expires_at=1.0)
    in_time = dataclasses.replace(long_ago, expires_at=2e12)
    platform.repository.models = (dataclasses.replace(platform.model, candidate=in_time),)
    await until(lambda: ("adder", 3) in platform.keeper.observed["tfserving"], "the candidate is loaded")
    assert platform.model.candidate == in_time
    platform.repository.models = (dataclasses.replace(platform.model, candidate=long_ago),)
    await until(lambda: platform.model.candidate is None, "the claim ran out")


async def test_a_promote_waits_for_every_gateway_process(platform: Platform) -> None:
    platform.peers.reports = {"there": PeerReport({"torchserve": frozenset({("adder", 3)})}, {}, {})}
    begun = await platform.rollouts.promote("adder", Plan(3))
    await until(lambda: platform.rollouts.last("adder").phase == "warm", "loaded here")  # type: ignore[union-attr]
    assert platform.model.live == 2
    everywhere = {name: frozenset({("adder", 3)}) for name in platform.engines}
    platform.peers.reports = {"there": PeerReport(everywhere, {("adder", 3): Counts()}, {"adder": 2})}
    await until(lambda: platform.rollouts.last("adder").phase == "flip", "flipped here")  # type: ignore[union-attr]
    assert (await platform.inference.infer(ask())).version == 3
    platform.peers.reports = {"there": PeerReport(everywhere, {}, {"adder": 3})}
    assert (await platform.rollouts.wait("adder", begun)).state == "done"


async def test_being_stopped_withdraws_the_candidate(events: LedgerEvents) -> None:
    platform = Platform(events)
    async with running(platform):
        platform.engines["tfserving"].is_loading = True
        await platform.rollouts.promote("adder", Plan(3))
    assert (platform.model.live, platform.model.candidate) == (2, None)
    (record,) = platform.repository.recorded.values()
    assert (record.state, record.reason) == ("failed", "the gateway that ran it was stopped")


async def test_routing_is_changed_and_checked(platform: Platform) -> None:
    model = await platform.rollouts.set_routing("adder", {"torchserve": 1.0}, {"tfserving": 0.1})
    assert (model.weights, model.mirror) == ({"torchserve": 1.0}, {"tfserving": 0.1})
    answers = [await platform.inference.infer(ask()) for _ in range(4)]
    assert {answer.engine for answer in answers} == {"torchserve"}
    model = await platform.rollouts.set_routing("adder", None, {"tfserving": 0.0})
    assert (model.weights, model.mirror) == ({"torchserve": 1.0}, {})
    for weights, mirror in (
        ({"onnx": 1.0}, None),
        ({"torchserve": -1.0}, None),
        ({}, None),
        (None, {"tfserving": 2.0}),
    ):
        with pytest.raises(InvalidRequest):
            await platform.rollouts.set_routing("adder", weights, mirror)


async def test_a_share_of_the_answers_is_asked_for_again_and_compared(platform: Platform) -> None:
    await platform.rollouts.set_routing("adder", {"torchserve": 1.0}, {"tfserving": 0.25})
    for value in range(8):
        await platform.inference.infer(ask(value=value))
    await until(lambda: platform.events.counts["mirror match"] == 2, "every fourth was copied")
    assert not platform.mirror.mismatches

    def off_by_one(batch: EngineBatch) -> Mapping[str, Tensor]:
        return {"sum": add(batch)["sum"] + 1}

    platform.engines["tfserving"].answer = off_by_one
    answers = [await platform.inference.infer(ask(value=value)) for value in range(4)]
    assert [answer.outputs["sum"][0, 0] for answer in answers] == [0, 2, 4, 6], "the client's answer is not changed"
    await until(lambda: platform.events.counts["mirror mismatch"] == 1, "the copy differs")
    (mismatch,) = platform.mirror.mismatches
    assert (mismatch.answered_by, mismatch.mirrored_to) == ("torchserve", "tfserving")
    assert mismatch.problem.startswith("sum differs by 1")
    assert mismatch.copy["sum"][0, 0] == mismatch.answer["sum"][0, 0] + 1 == 2 * mismatch.inputs["a"][0, 0] + 1
    platform.events.assert_balanced()
    assert platform.events.counts["accepted"] == 12, "copies are in nobody's ledger"


async def test_copies_are_bounded_and_never_delay_the_client(platform: Platform) -> None:
    await platform.rollouts.set_routing("adder", {"torchserve": 1.0}, {"tfserving": 1.0})
    platform.engines["tfserving"].gate.clear()
    for _ in range(100):
        assert (await asyncio.wait_for(platform.inference.infer(ask()), 1)).engine == "torchserve"
    assert platform.events.counts["mirror dropped"] >= 60
    platform.engines["tfserving"].gate.set()
    await until(lambda: sum(n for k, n in platform.events.counts.items() if "mirror" in k) == 100, "all are accounted")
