"""The use case over two engines: requests are shared, checked, moved over and waited for; the ledger balances."""

import asyncio
from collections.abc import Mapping

import numpy as np
import pytest

from gateway.core.batcher import BatchLimits
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
from gateway.core.keeper import KeeperLimits
from gateway.core.messages import EngineBatch
from gateway.core.pace import Bounds
from gateway.core.tensors import Tensor
from gateway.engines.fake import FakeEngine
from tests.unit.gateway.adder import LedgerEvents, add, ask, published
from tests.unit.gateway.wired_core import Engines, Gateway, until


async def test_unforced_traffic_is_shared_by_weight(gateway: Gateway, events: LedgerEvents) -> None:
    gateway.repository.models = (published(torchserve=3.0, tfserving=1.0),)
    await gateway.look()
    answers = [await gateway.ask() for _ in range(8)]
    assert [a.engine for a in answers].count("torchserve") == 6
    events.assert_balanced()


async def test_the_client_may_name_version_and_engine(gateway: Gateway) -> None:
    answers = [await gateway.ask(version=1, engine="tfserving") for _ in range(4)]
    assert {(a.version, a.engine) for a in answers} == {(1, "tfserving")}
    assert {batch.version for batch in gateway.engines[1].batches} == {1}


async def test_a_lost_engine_costs_no_unforced_request(gateway: Gateway, events: LedgerEvents) -> None:
    lost, other = gateway.engines
    lost.is_reachable = False
    answers = [await gateway.ask(value=v) for v in range(6)]
    assert {a.engine for a in answers} == {other.name}
    assert [a.outputs["sum"][0, 0] for a in answers] == [0, 2, 4, 6, 8, 10]
    assert len(other.batches) == 6, "the lost engine was tried once, then left out"
    assert events.counts["torchserve down"] == 1
    lost.is_reachable = True
    await gateway.look()
    assert {(await gateway.ask()).engine for _ in range(4)} == {lost.name, other.name}
    events.assert_balanced()


async def test_requests_in_flight_move_over_when_their_engine_dies(gateway: Gateway, events: LedgerEvents) -> None:
    lost, _ = gateway.engines
    lost.gate.clear()
    tasks = [asyncio.create_task(gateway.ask(value=v)) for v in range(10)]
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
    assert {(await gateway.ask()).engine for _ in range(4)} == {"tfserving"}
    with pytest.raises(EngineFailed, match="against the signature"):
        await gateway.ask(engine="torchserve")
    assert "torchserve" in gateway.keeper.observed
    events.assert_balanced()


async def test_a_forced_engine_is_never_replaced(gateway: Gateway, events: LedgerEvents) -> None:
    gateway.engines[0].is_reachable = False
    for _ in range(2):  # found out by the first, known to the second
        with pytest.raises(Unavailable, match="torchserve"):
            await gateway.ask(engine="torchserve")
    assert gateway.engines[1].batches == []
    events.assert_balanced()


async def test_no_engine_at_all(gateway: Gateway, events: LedgerEvents) -> None:
    for engine in gateway.engines:
        engine.is_reachable = False
    for _ in range(2):
        with pytest.raises(Unavailable):
            await gateway.ask()
    assert events.counts["failed"] == 2
    events.assert_balanced()


async def test_the_deadline_ends_the_wait(gateway: Gateway, events: LedgerEvents) -> None:
    for engine in gateway.engines:
        engine.gate.clear()
    with pytest.raises(DeadlineExceeded):
        await gateway.ask(timeout_s=0.01)
    with pytest.raises(DeadlineExceeded):
        await gateway.ask(timeout_s=-1)
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
        await gateway.inference.infer(ask()._replace(**change))  # type: ignore[arg-type]
    assert said in error.value.message
    assert events.counts["accepted"] == 0


async def test_a_known_model_without_engines_is_unavailable_not_unknown(engines: Engines, events: LedgerEvents) -> None:
    gateway = Gateway(engines, events)
    for engine in engines:
        engine.is_reachable = False
    await gateway.look()
    with pytest.raises(Unavailable):
        await gateway.ask()


async def test_losing_one_version_leaves_the_engines_others(gateway: Gateway, events: LedgerEvents) -> None:
    """A version that kills its worker must not take the live one with it."""

    def crash(batch: EngineBatch) -> Mapping[str, Tensor]:
        if batch.version == 1:
            raise VersionLost("worker died")
        return add(batch)

    gateway.engines[0].answer = crash
    for _ in range(4):
        assert (await gateway.ask(version=1)).engine == "tfserving"
    assert events.states["adder", 1, "torchserve"] is None
    answers = [await gateway.ask() for _ in range(4)]
    assert {answer.engine for answer in answers} == {"torchserve", "tfserving"}
    assert events.counts["torchserve down"] == 0
    events.assert_balanced()


async def test_with_no_engine_left_a_request_waits_for_one(engines: Engines, events: LedgerEvents) -> None:
    gateway = Gateway(engines, events, patience_s=30)
    await gateway.look()
    for engine in engines:
        engine.is_reachable = False
    waiting = [asyncio.create_task(gateway.ask(value=v)) for v in range(4)]
    await until(lambda: not gateway.keeper.is_ready, "both engines are lost")
    with pytest.raises(Unavailable):
        await gateway.ask(engine="torchserve")
    with pytest.raises(DeadlineExceeded):
        await gateway.ask(timeout_s=-1)
    engines[1].is_reachable = True
    await gateway.look()
    answers = await asyncio.wait_for(asyncio.gather(*waiting), 5)
    assert [answer.outputs["sum"][0, 0] for answer in answers] == [0, 2, 4, 6]
    assert {answer.engine for answer in answers} == {"tfserving"}
    events.assert_balanced()


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
    waiting = asyncio.create_task(gateway.ask(version=1))
    await until(lambda: not gateway.router.table.models["adder"].versions[1].lanes, "both workers are lost")
    gateway.repository.models = (published(kept=()),)
    gateway.keeper.look_at_repository()
    with pytest.raises(VersionLeft):
        await asyncio.wait_for(waiting, 5)
    assert gateway.ledger.of("adder", 1).faults == 1
    events.assert_balanced()


async def test_an_overloaded_engine_leaves_unforced_requests_to_the_other(
    engines: Engines, events: LedgerEvents
) -> None:
    tight = BatchLimits(Bounds(most_in_flight=1, most_rows=1), queue_rows=1)
    gateway = Gateway(engines, events, KeeperLimits(batch=tight))
    await gateway.look()
    busy = engines[0]
    busy.gate.clear()
    insisting = [asyncio.create_task(gateway.ask(engine=busy.name)) for _ in range(2)]
    await asyncio.wait_for(busy.asked.wait(), 5)
    assert {(await gateway.ask()).engine for _ in range(4)} == {"tfserving"}
    with pytest.raises(Overloaded):
        await gateway.ask(engine=busy.name)
    busy.gate.set()
    await asyncio.gather(*insisting)
    events.assert_balanced()


async def test_a_bug_on_the_way_ends_the_request_with_an_answer(
    gateway: Gateway, events: LedgerEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(gateway.router, "lanes", crash)
    with pytest.raises(EngineFailed, match="internal error"):
        async with asyncio.timeout(5):
            await gateway.ask()
    assert events.counts["failed"] == 1
    events.assert_balanced()
