"""The keeper and the use case together: routing follows the engines, requests fail over, the ledger balances."""

import asyncio
import dataclasses

import numpy as np
import pytest

from gateway.core.batch_plan import BatchLimits
from gateway.core.errors import (
    DeadlineExceeded,
    EngineFailed,
    InvalidRequest,
    NotFound,
    Overloaded,
    ServingError,
    Unavailable,
)
from gateway.core.inference import Inference
from gateway.core.keeper import Keeper, KeeperLimits
from gateway.core.leases import LaneClosed
from gateway.core.router import Router
from gateway.engines.fake import FakeEngine
from tests.unit.gateway.adder import LedgerEvents, MemoryRepository, ask, published

Engines = tuple[FakeEngine, FakeEngine]

# No patience: whoever owes an answer when it is looked at is tried at once.
LIMITS = KeeperLimits(resident_versions=2, silence_s=0, trial_timeout_s=0.05)


class Gateway:
    """The core, wired to fakes; `look` is one round of the keeper."""

    def __init__(self, engines: Engines, events: LedgerEvents, limits: KeeperLimits = LIMITS) -> None:
        self.repository = MemoryRepository(published())
        self.engines = engines
        self.router = Router(tuple(engine.name for engine in engines))
        self.keeper = Keeper(engines, self.repository, self.router, events, limits)
        self.inference = Inference(self.router, events, self.keeper.doubt)

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
    gateway.keeper.doubt("torchserve")
    assert is_ready(gateway), "from then on one is enough"
    gateway.keeper.doubt("tfserving")
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
    gateway.repository.models = (published(live=1, versions=(1, 2, 3)),)
    await gateway.look()
    assert sorted(gateway.router.table.models["adder"].versions) == [1, 3], "the live one, then the newest"
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


async def test_leases_keep_a_version_until_its_last_request(gateway: Gateway) -> None:
    slow = gateway.engines[0]
    slow.gate.clear()
    task = asyncio.create_task(gateway.inference.infer(dataclasses.replace(ask(), version=1, engine="torchserve")))
    await asyncio.wait_for(slow.asked.wait(), 5)
    gateway.repository.models = (published(live=3, versions=(2, 3)),)
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


async def test_no_request_enters_a_version_that_is_being_unloaded(gateway: Gateway, events: LedgerEvents) -> None:
    """Even one that resolved its route before the table changed: its lane is closed, and the other table answers."""
    route = gateway.router.version("adder", 1)
    lane = route.lanes["torchserve"]
    gateway.repository.models = (published(live=3, versions=(2, 3)),)
    await gateway.look()
    with pytest.raises(LaneClosed), lane.leases.hold():
        pass
    assert ("adder", 1) not in await gateway.engines[0].observe(frozenset({"adder"}))


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
    gateway.keeper.doubt(lost.name)
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
