"""The keeper and the use case together: routing follows the engines, requests fail over, the ledger balances."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping

import numpy as np
import pytest

from gateway.core.batch_plan import BatchLimits
from gateway.core.counts import Ledger
from gateway.core.errors import (
    DeadlineExceeded,
    EngineFailed,
    InvalidRequest,
    NotFound,
    Overloaded,
    ServingError,
    Unavailable,
    VersionLeft,
    VersionLost,
)
from gateway.core.inference import Inference, Patience
from gateway.core.keeper import Keeper, KeeperLimits
from gateway.core.lifecycle import LaneKey
from gateway.core.messages import EngineBatch
from gateway.core.mirror import Mirror, MirrorLimits
from gateway.core.ports import Observed, PeerReport, VersionState
from gateway.core.published import CandidateVersion, Golden, PublishedModel
from gateway.core.router import Router
from gateway.core.tensors import Tensor
from gateway.core.trials import TrialLimits
from gateway.engines.fake import FakeEngine
from tests.platform_process import wait_until_async
from tests.unit.gateway.adder import LedgerEvents, MemoryPeers, MemoryRepository, add, ask, published

Engines = tuple[FakeEngine, FakeEngine]

# No patience: whoever owes an answer when it is looked at is tried at once.
LIMITS = KeeperLimits(trial=TrialLimits(silence_s=0, timeout_s=0.05))


class Gateway:
    """The core, wired to fakes; `look` is one round of the keeper."""

    def __init__(
        self, engines: Engines, events: LedgerEvents, limits: KeeperLimits = LIMITS, patience_s: float = 0
    ) -> None:
        self.repository = MemoryRepository(published())
        self.engines = engines
        self.router = Router(tuple(engine.name for engine in engines))
        self.peers = MemoryPeers()
        self.ledger = Ledger()
        self.keeper = Keeper(engines, self.repository, self.peers, self.router, events, limits, self.ledger)
        self.inference = Inference(
            self.router,
            self.ledger,
            events,
            self.keeper.doubt,
            Patience(patience_s),
            Mirror(self.ledger, events, MirrorLimits()),
        )

    def doubt(self, engine: str) -> None:
        self.keeper.doubt(LaneKey(engine, "adder", 2), is_whole_engine=True)

    async def look(self) -> None:
        for engine in self.engines:
            await self.keeper.look_at(engine)


def is_ready(gateway: Gateway) -> bool:
    return gateway.keeper.is_ready


@pytest.fixture
async def gateway(engines: Engines, events: LedgerEvents) -> Gateway:
    gateway = Gateway(engines, events)
    await gateway.look()
    return gateway


async def test_is_ready_once_both_engines_have_the_live_version(engines: Engines, events: LedgerEvents) -> None:
    gateway = Gateway(engines, events)
    engines[1].is_reachable = False
    await gateway.look()
    assert not is_ready(gateway), "one engine is not enough the first time"
    engines[1].is_reachable = True
    await gateway.look()
    assert is_ready(gateway)
    gateway.doubt("torchserve")
    assert is_ready(gateway), "from then on one is enough"
    gateway.doubt("tfserving")
    assert not is_ready(gateway)


async def test_unforced_traffic_is_shared_by_weight(gateway: Gateway, events: LedgerEvents) -> None:
    gateway.repository.models = (published(torchserve=3.0, tfserving=1.0),)
    await gateway.look()
    answers = [await gateway.inference.infer(ask()) for _ in range(8)]
    assert [a.engine for a in answers].count("torchserve") == 6
    events.assert_balanced()


async def test_the_client_may_name_version_and_engine(gateway: Gateway) -> None:
    request = dataclasses.replace(ask(), version=1, engine="tfserving")
    answers = [await gateway.inference.infer(request) for _ in range(4)]
    assert {(a.version, a.engine) for a in answers} == {(1, "tfserving")}
    assert {batch.version for batch in gateway.engines[1].batches} == {1}


async def test_a_change_of_the_live_version_is_followed(gateway: Gateway) -> None:
    assert (await gateway.inference.infer(ask())).version == 2
    gateway.repository.models = (published(live=1),)
    await gateway.look()
    assert (await gateway.inference.infer(ask())).version == 1


async def test_only_resident_versions_are_held(gateway: Gateway) -> None:
    gateway.repository.models = (published(live=1, versions=(1, 2, 3), kept=(3,)),)
    await gateway.look()
    assert sorted(gateway.router.table.models["adder"].versions) == [1, 3], "the live one and the kept one"
    assert set(await gateway.engines[0].observe(frozenset({"adder"}))) == {("adder", 1), ("adder", 3)}


async def test_an_engine_that_refuses_new_versions_keeps_answering_with_the_old(gateway: Gateway) -> None:
    gateway.engines[0].is_obedient = False
    gateway.repository.models = (published(live=3, versions=(2, 3)),)
    await gateway.look()
    table = gateway.router.table.models["adder"].versions
    assert set(table[2].lanes) == {"torchserve", "tfserving"}
    assert set(table[3].lanes) == {"tfserving"}
    answers = [await gateway.inference.infer(ask()) for _ in range(4)]
    assert {(a.engine, a.version) for a in answers} == {("torchserve", 2), ("tfserving", 2)}
    gateway.engines[0].is_obedient = True
    await gateway.look()
    assert set(gateway.router.table.models["adder"].versions[3].lanes) == {"torchserve", "tfserving"}
    assert (await gateway.inference.infer(ask())).version == 3


async def test_a_lost_engine_costs_no_unforced_request(gateway: Gateway, events: LedgerEvents) -> None:
    lost, other = gateway.engines
    lost.is_reachable = False
    answers = [await gateway.inference.infer(ask(value=v)) for v in range(6)]
    assert {a.engine for a in answers} == {other.name}
    assert [a.outputs["sum"][0, 0] for a in answers] == [0, 2, 4, 6, 8, 10]
    assert len(other.batches) == 6, "the lost engine was tried once, then left out"
    assert events.counts["torchserve down"] == 1
    lost.is_reachable = True
    await gateway.look()
    assert {(await gateway.inference.infer(ask())).engine for _ in range(4)} == {lost.name, other.name}
    events.assert_balanced()


async def test_requests_in_flight_move_over_when_their_engine_dies(gateway: Gateway, events: LedgerEvents) -> None:
    lost, _ = gateway.engines
    lost.gate.clear()
    tasks = [asyncio.create_task(gateway.inference.infer(ask(value=v))) for v in range(10)]
    await asyncio.wait_for(lost.asked.wait(), 5)
    lost.is_reachable = False
    lost.gate.set()
    answers = await asyncio.gather(*tasks)
    assert [a.outputs["sum"][0, 0] for a in answers] == [2 * v for v in range(10)]
    assert {a.engine for a in answers} == {"tfserving"}
    events.assert_balanced()


async def test_a_failing_answer_moves_over_too_but_does_not_eject(events: LedgerEvents) -> None:
    broken = FakeEngine("torchserve", lambda _: {})
    healthy = FakeEngine("tfserving", lambda batch: {"sum": batch.inputs["a"]})
    gateway = Gateway((broken, healthy), events)
    await gateway.look()
    assert {(await gateway.inference.infer(ask())).engine for _ in range(4)} == {"tfserving"}
    with pytest.raises(EngineFailed, match="against the signature"):
        await gateway.inference.infer(dataclasses.replace(ask(), engine="torchserve"))
    assert "torchserve" in gateway.keeper.observed
    events.assert_balanced()


async def test_a_forced_engine_is_never_replaced(gateway: Gateway, events: LedgerEvents) -> None:
    gateway.engines[0].is_reachable = False
    for _ in range(2):  # found out by the first, known to the second
        with pytest.raises(Unavailable, match="torchserve"):
            await gateway.inference.infer(dataclasses.replace(ask(), engine="torchserve"))
    assert gateway.engines[1].batches == []
    events.assert_balanced()


async def test_no_engine_at_all(gateway: Gateway, events: LedgerEvents) -> None:
    for engine in gateway.engines:
        engine.is_reachable = False
    for _ in range(2):
        with pytest.raises(Unavailable):
            await gateway.inference.infer(ask())
    assert events.counts["failed"] == 2
    events.assert_balanced()


async def test_the_deadline_ends_the_wait(gateway: Gateway, events: LedgerEvents) -> None:
    for engine in gateway.engines:
        engine.gate.clear()
    with pytest.raises(DeadlineExceeded):
        await gateway.inference.infer(ask(timeout_s=0.01))
    with pytest.raises(DeadlineExceeded):
        await gateway.inference.infer(ask(timeout_s=-1))
    for engine in gateway.engines:
        engine.gate.set()
    await gateway.keeper.close()
    events.assert_balanced()


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"model": "nobody"}, NotFound, "unknown model 'nobody': expected one of ['adder']"),
        ({"version": 9}, NotFound, "unknown version 9 of model 'adder': expected one of [1, 2]"),
        ({"engine": "onnx"}, InvalidRequest, "unknown engine 'onnx': expected one of ['torchserve', 'tfserving']"),
        ({"outputs": ("x",)}, InvalidRequest, "unexpected output 'x': expected sum FP32[-1, 2]"),
        ({"inputs": {}}, InvalidRequest, "missing input: expected a FP32[-1, 2], b FP32[-1, 2], got no inputs"),
        ({"inputs": {"c": np.zeros((1, 2))}}, InvalidRequest, "unexpected input 'c'"),
        (
            {"inputs": {"a": np.zeros((1, 2), np.int32)}},
            InvalidRequest,
            "input 'a': expected datatype FP32, got INT32",
        ),
        (
            {"inputs": {"a": np.zeros((1, 3), np.float32)}},
            InvalidRequest,
            "input 'a': expected shape [-1, 2] (-1 is any), got [1, 3]",
        ),
        (
            {"inputs": {"a": np.zeros((1, 2), np.float32), "b": np.zeros((2, 2), np.float32)}},
            InvalidRequest,
            "inputs differ in rows: expected one first dimension, got [1, 2]",
        ),
        (
            {"inputs": {"a": np.zeros((0, 2), np.float32), "b": np.zeros((0, 2), np.float32)}},
            InvalidRequest,
            "expected at least one row, got 0",
        ),
    ],
)
async def test_what_can_never_work_is_not_accepted(
    gateway: Gateway, events: LedgerEvents, change: dict[str, object], kind: type[ServingError], said: str
) -> None:
    with pytest.raises(kind) as error:
        await gateway.inference.infer(dataclasses.replace(ask(), **change))  # type: ignore[arg-type]
    assert said in error.value.message
    assert events.counts["accepted"] == 0


async def test_leases_keep_a_version_until_its_last_request(engines: Engines, events: LedgerEvents) -> None:
    gateway = Gateway(engines, events, KeeperLimits())
    await gateway.look()
    slow = gateway.engines[0]
    slow.gate.clear()
    task = asyncio.create_task(gateway.inference.infer(dataclasses.replace(ask(), version=1, engine="torchserve")))
    await asyncio.wait_for(slow.asked.wait(), 5)
    gateway.repository.models = (published(live=2, versions=(1, 2), kept=()),)
    await gateway.look()
    assert ("adder", 1) in await slow.observe(frozenset({"adder"})), "a request holds version 1"
    with pytest.raises(NotFound):
        await gateway.inference.infer(dataclasses.replace(ask(), version=1))
    slow.gate.set()
    assert (await task).version == 1
    await gateway.look()
    assert ("adder", 1) not in await slow.observe(frozenset({"adder"}))


async def test_a_known_model_without_engines_is_unavailable_not_unknown(engines: Engines, events: LedgerEvents) -> None:
    gateway = Gateway(engines, events)
    for engine in engines:
        engine.is_reachable = False
    await gateway.look()
    with pytest.raises(Unavailable):
        await gateway.inference.infer(ask())


async def test_a_version_answers_only_once_it_has_loaded(gateway: Gateway) -> None:
    for engine in gateway.engines:
        engine.is_loading = True
    gateway.repository.models = (published(live=3, versions=(1, 2, 3)),)
    await gateway.look()
    assert (await gateway.inference.infer(ask())).version == 2, "the one before goes on"
    assert is_ready(gateway)
    gateway.engines[0].is_loading = False
    await gateway.look()
    assert (await gateway.inference.infer(ask())).version == 2, "the other engine still loads it"
    gateway.engines[1].is_loading = False
    await gateway.look()
    assert (await gateway.inference.infer(ask())).version == 3


async def test_a_version_that_another_gateway_process_uses_is_not_unloaded(gateway: Gateway) -> None:
    using = {"torchserve": frozenset({("adder", 1)})}
    gateway.peers.reports = {"there": PeerReport(using, {}, {})}
    gateway.repository.models = (published(kept=()),)
    await gateway.look()
    assert ("adder", 1) in await gateway.engines[0].observe(frozenset({"adder"}))
    assert ("adder", 1) not in await gateway.engines[1].observe(frozenset({"adder"}))
    gateway.peers.reports = {}
    await gateway.look()
    assert ("adder", 1) not in await gateway.engines[0].observe(frozenset({"adder"}))


async def test_only_the_leading_process_tells_engines_what_to_hold(engines: Engines, events: LedgerEvents) -> None:
    gateway = Gateway(engines, events)
    gateway.peers.is_leader = False
    await gateway.look()
    assert await engines[0].observe(frozenset({"adder"})) == {}
    gateway.peers.is_leader = True
    await gateway.look()
    assert set(await engines[0].observe(frozenset({"adder"}))) == {("adder", 1), ("adder", 2)}


async def test_what_a_process_uses_is_told_before_it_is_used(gateway: Gateway) -> None:
    """And the repository is read once more in between: whoever unloads reads both the other way round."""
    told_at_scan = []
    scan = gateway.repository.scan

    def watched_scan() -> Mapping[str, PublishedModel]:
        told_at_scan.append((gateway.peers.told, "adder" in gateway.router.table.models))
        return scan()

    gateway.repository.scan = watched_scan  # type: ignore[method-assign]
    gateway.repository.models = (published(live=3, versions=(2, 3), kept=(2,)),)
    await gateway.look()
    assert 3 in gateway.router.table.models["adder"].versions
    assert any(("adder", 3) in told["torchserve"] for told, _ in told_at_scan)
    assert gateway.peers.told == gateway.keeper.using


async def test_a_damaged_version_is_never_loaded_and_says_why(engines: Engines, events: LedgerEvents) -> None:
    gateway = Gateway(engines, events)
    gateway.repository.damage = {1: "adder.mar was changed"}
    await gateway.look()
    assert set(await engines[0].observe(frozenset({"adder"}))) == {("adder", 2)}
    assert gateway.keeper.observed["torchserve"]["adder", 1] == Observed(VersionState.ERROR, "adder.mar was changed")
    assert set(gateway.router.table.models["adder"].versions[1].lanes) == set()


async def test_a_version_with_wrong_golden_answers_gets_no_traffic(engines: Engines, events: LedgerEvents) -> None:
    right = {name: np.ones((4, 2), np.float32) for name in ("a", "b")}
    gateway = Gateway(engines, events)
    gateway.repository.golden = Golden(right, {"sum": np.full((4, 2), 3, np.float32)})
    await gateway.look()
    seen = gateway.keeper.observed["tfserving"]["adder", 2]
    assert (seen.state, seen.reason) == (
        VersionState.ERROR,
        "tfserving answers its golden inputs wrongly: sum differs by 1, allowed are 0.001 + 0.001 of the value",
    )
    assert not is_ready(gateway)


async def test_a_version_is_warmed_with_batches_up_to_the_largest(engines: Engines, events: LedgerEvents) -> None:
    right = {name: np.ones((4, 2), np.float32) for name in ("a", "b")}
    gateway = Gateway(engines, events)
    gateway.repository.golden = Golden(right, {"sum": np.full((4, 2), 2, np.float32)})
    await gateway.look()
    asked = [len(batch.inputs["a"]) for batch in engines[0].batches if batch.version == 2]
    assert asked == [1, 2, 4, 8, 16, 32, 64]
    assert is_ready(gateway)


async def test_losing_one_version_leaves_the_engines_others(gateway: Gateway, events: LedgerEvents) -> None:
    """A version that kills its worker must not take the live one with it."""

    def crash(batch: EngineBatch) -> Mapping[str, Tensor]:
        if batch.version == 1:
            raise VersionLost("worker died")
        return add(batch)

    gateway.engines[0].answer = crash
    for _ in range(4):
        assert (await gateway.inference.infer(dataclasses.replace(ask(), version=1))).engine == "tfserving"
    answers = [await gateway.inference.infer(ask()) for _ in range(4)]
    assert {answer.engine for answer in answers} == {"torchserve", "tfserving"}
    assert events.counts["torchserve down"] == 0
    events.assert_balanced()


async def test_with_no_engine_left_a_request_waits_for_one(engines: Engines, events: LedgerEvents) -> None:
    gateway = Gateway(engines, events, patience_s=30)
    await gateway.look()
    for engine in engines:
        engine.is_reachable = False
    waiting = [asyncio.create_task(gateway.inference.infer(ask(value=v))) for v in range(4)]
    await wait_until_async(is_false(lambda: gateway.keeper.is_ready), 5, "both engines are lost")
    with pytest.raises(Unavailable):
        await gateway.inference.infer(dataclasses.replace(ask(), engine="torchserve"))
    with pytest.raises(DeadlineExceeded):
        await gateway.inference.infer(ask(timeout_s=-1))
    engines[1].is_reachable = True
    await gateway.look()
    answers = await asyncio.wait_for(asyncio.gather(*waiting), 5)
    assert [answer.outputs["sum"][0, 0] for answer in answers] == [0, 2, 4, 6]
    assert {answer.engine for answer in answers} == {"tfserving"}
    events.assert_balanced()


def is_false(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def is_false_now() -> bool:
        return not condition()

    return is_false_now


async def test_past_its_claim_a_canary_answers_nobody(gateway: Gateway) -> None:
    candidate = CandidateVersion(3, "r1", "here", expires_at=1.0, share=1.0)
    gateway.repository.models = (dataclasses.replace(published(versions=(1, 2, 3)), candidate=candidate),)
    await gateway.look()
    assert (await gateway.inference.infer(ask())).version == 2
    renewed = dataclasses.replace(candidate, expires_at=2e12)
    gateway.repository.models = (dataclasses.replace(published(versions=(1, 2, 3)), candidate=renewed),)
    await gateway.look()
    assert (await gateway.inference.infer(ask())).version == 3


async def test_a_forced_engine_without_the_canary_answers_with_the_live_version(gateway: Gateway) -> None:
    gateway.engines[1].is_obedient = False
    candidate = CandidateVersion(3, "r1", "here", expires_at=2e12, share=1.0)
    gateway.repository.models = (dataclasses.replace(published(versions=(1, 2, 3)), candidate=candidate),)
    await gateway.look()
    for engine, version in (("torchserve", 3), ("tfserving", 2)):
        answer = await gateway.inference.infer(dataclasses.replace(ask(), engine=engine))
        assert (answer.engine, answer.version) == (engine, version)


async def test_a_version_that_leaves_while_a_request_waits_for_an_engine(
    engines: Engines, events: LedgerEvents
) -> None:
    """The request may be asked once more, with the version that is live now; the ledger says that this one failed."""
    gateway = Gateway(engines, events, patience_s=30)
    await gateway.look()

    def crash(batch: EngineBatch) -> Mapping[str, Tensor]:
        raise VersionLost("worker died")

    for engine in engines:
        engine.answer = crash
    waiting = asyncio.create_task(gateway.inference.infer(dataclasses.replace(ask(), version=1)))
    await wait_until_async(is_false(lambda: bool(gateway.router.table.models["adder"].versions[1].lanes)), 5, "lost")
    gateway.repository.models = (published(kept=()),)
    gateway.keeper.look_at_repository()
    with pytest.raises(VersionLeft):
        await asyncio.wait_for(waiting, 5)
    assert gateway.ledger.of("adder", 1).faults == 1
    events.assert_balanced()


async def test_a_version_deleted_while_it_is_warmed_ends_nothing_else(engines: Engines, events: LedgerEvents) -> None:
    gateway = Gateway(engines, events)
    read_golden = gateway.repository.read_golden

    async def delete_and_read(model: str, version: int) -> Golden | None:
        gateway.repository.models = (published(versions=(2,), kept=()),)
        gateway.keeper.look_at_repository()
        return await read_golden(model, version)

    gateway.repository.read_golden = delete_and_read  # type: ignore[method-assign]
    await gateway.look()
    await gateway.look()
    assert set(gateway.router.table.models["adder"].versions) == {2}
    assert is_ready(gateway)


async def test_a_warm_up_that_breaks_is_an_error_of_that_version(engines: Engines, events: LedgerEvents) -> None:
    gateway = Gateway(engines, events)

    async def broken(model: str, version: int) -> Golden | None:
        raise KeyError("a bug")

    gateway.repository.read_golden = broken  # type: ignore[method-assign]
    await gateway.look()
    seen = gateway.keeper.observed["torchserve"]["adder", 2]
    assert seen == Observed(VersionState.ERROR, "its warm-up broke: KeyError('a bug')")


async def test_damage_that_was_mended_is_seen_at_the_next_attempt(gateway: Gateway) -> None:
    gateway.repository.damage = {3: "adder.mar was changed"}
    for kept, damage in (((3,), "adder.mar was changed"), ((), ""), ((3,), "")):
        gateway.repository.damage = {3: damage}
        gateway.repository.models = (published(versions=(2, 3), kept=kept),)
        await gateway.look()
    assert gateway.keeper.observed["torchserve"]["adder", 3].state is VersionState.READY


async def test_a_canary_answers_its_share_and_keys_stick(gateway: Gateway) -> None:
    candidate = CandidateVersion(3, "r1", "here", expires_at=2e12, share=0.25)
    model = dataclasses.replace(published(versions=(1, 2, 3)), candidate=candidate)
    gateway.repository.models = (model,)
    await gateway.look()
    versions = [
        (await gateway.inference.infer(dataclasses.replace(ask(), route_key=f"user-{number}"))).version
        for number in range(400)
    ]
    assert 60 <= versions.count(3) <= 140
    assert set(versions) == {2, 3}
    sticky = dataclasses.replace(ask(), route_key=f"user-{versions.index(3)}")
    assert {(await gateway.inference.infer(sticky)).version for _ in range(5)} == {3}
    gateway.repository.models = (dataclasses.replace(model, candidate=dataclasses.replace(candidate, share=1)),)
    await gateway.look()
    assert (await gateway.inference.infer(ask())).version == 3


async def test_a_silent_engine_is_tried_left_out_and_its_requests_move_over(
    gateway: Gateway, events: LedgerEvents
) -> None:
    """As with SIGSTOP: it takes connections, observes well, and answers nothing."""
    silent, other = gateway.engines
    silent.gate.clear()
    stuck = [asyncio.create_task(gateway.inference.infer(ask(value=v))) for v in range(8)]
    await asyncio.wait_for(silent.asked.wait(), 5)
    await gateway.look()
    answers = await asyncio.gather(*stuck)
    assert {a.engine for a in answers} == {other.name}
    assert [a.outputs["sum"][0, 0] for a in answers] == [2 * v for v in range(8)]
    assert {(await gateway.inference.infer(ask())).engine for _ in range(4)} == {other.name}
    await gateway.look()
    assert set(gateway.keeper.observed) == {other.name}, "it does not come back while its trial is not answered"
    silent.gate.set()
    await gateway.look()
    assert {(await gateway.inference.infer(ask())).engine for _ in range(4)} == {silent.name, other.name}
    events.assert_balanced()


async def test_impatient_clients_do_not_eject_an_engine(gateway: Gateway, events: LedgerEvents) -> None:
    """Deadlines too short for any engine leave it silent, so it is tried, answers, and stays."""
    for engine in gateway.engines:
        engine.gate.clear()
    with pytest.raises(DeadlineExceeded):
        await gateway.inference.infer(ask(timeout_s=0.001))
    for engine in gateway.engines:
        engine.gate.set()
    await gateway.look()
    assert set(gateway.keeper.observed) == {"torchserve", "tfserving"}
    assert events.counts["torchserve down"] == events.counts["tfserving down"] == 0


async def test_a_returning_engine_waits_for_the_live_version(gateway: Gateway) -> None:
    lost, other = gateway.engines
    gateway.doubt(lost.name)
    lost.restart()
    lost.is_loading = True
    await gateway.look()
    assert {(await gateway.inference.infer(ask())).engine for _ in range(4)} == {other.name}
    lost.is_loading = False
    await gateway.look()
    assert {(await gateway.inference.infer(ask())).engine for _ in range(4)} == {lost.name, other.name}


async def test_an_overloaded_engine_leaves_unforced_requests_to_the_other(
    engines: Engines, events: LedgerEvents
) -> None:
    tight = BatchLimits(in_flight=1, batch_rows=1, queue_rows=1)
    gateway = Gateway(engines, events, KeeperLimits(batch=tight))
    await gateway.look()
    busy = engines[0]
    busy.gate.clear()
    insisting = [
        asyncio.create_task(gateway.inference.infer(dataclasses.replace(ask(), engine=busy.name))) for _ in range(2)
    ]
    await asyncio.wait_for(busy.asked.wait(), 5)
    assert {(await gateway.inference.infer(ask())).engine for _ in range(4)} == {"tfserving"}
    with pytest.raises(Overloaded):
        await gateway.inference.infer(dataclasses.replace(ask(), engine=busy.name))
    busy.gate.set()
    await asyncio.gather(*insisting)
    events.assert_balanced()
