"""Rollouts where an engine has several endpoints: what one of them does must not be taken for the version's doing."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Mapping

import pytest

from gateway.core import arrival
from gateway.core.errors import EngineFailed, EngineRejected, EngineUnreachable, ServingError, VersionLost
from gateway.core.messages import EngineBatch
from gateway.core.tensors import Tensor
from gateway.engines.fake import Answer, FakeEngine
from tests.unit.gateway.adder import LedgerEvents, add
from tests.unit.gateway.wired_core import BRISK, GOLDEN, TF, A, B, Platform, make_endpoints, running, until

MODELS = frozenset({"adder"})


@pytest.fixture
async def pairs(events: LedgerEvents) -> AsyncIterator[Platform]:
    """Two endpoints of TorchServe and one of TensorFlow Serving, running."""
    platform = Platform(events, make_endpoints())
    async with running(platform):
        yield platform


@pytest.fixture
async def one_by_one(events: LedgerEvents) -> AsyncIterator[Platform]:
    """The same, where an endpoint really waits until the one before it is done."""
    platform = Platform(events, make_endpoints(), dataclasses.replace(BRISK, turn_s=30.0))
    async with running(platform):
        yield platform


def dying(engine: FakeEngine) -> Answer:
    """Breaks what version 3 is asked, and is seen to be down only some looks later."""

    def answer(batch: EngineBatch) -> Mapping[str, Tensor]:
        if batch.version == 3:
            asyncio.get_running_loop().call_later(0.3, setattr, engine, "is_reachable", False)
            raise EngineUnreachable("it died while it was asked")
        return add(batch)

    return answer


def crashing(batch: EngineBatch) -> Mapping[str, Tensor]:
    if batch.version == 3:
        raise EngineUnreachable("its worker died of version 3")
    return add(batch)


async def test_a_promote_waits_for_no_endpoint_that_is_down(pairs: Platform) -> None:
    down = pairs.engines[A]
    down.is_reachable = False
    await until(lambda: A not in pairs.keeper.observed, "it is lost")
    assert (await pairs.promote(3)).state == "done"
    assert (await pairs.ask()).version == 3
    down.is_reachable = True
    down.restart()
    await until(lambda: ("adder", 3) in pairs.keeper.observed.get(A, {}), "it is back, with the live version")


async def test_a_promote_goes_on_with_an_endpoint_that_went_and_came_again(pairs: Platform) -> None:
    pairs.engines[A].is_loading = True
    pairs.keeper._endpoints[A].rounds += 100_000  # as after a day
    promote = asyncio.create_task(pairs.promote(3, load_timeout_s=10))
    await until(lambda: pairs.model.candidate is not None, "it has begun")
    pairs.keeper.leave(A)
    again = FakeEngine("torchserve", add, A)
    pairs.keeper.join(again)
    ended = await promote
    assert (ended.state, ended.reason) == ("done", "")
    assert ("adder", 3) in await again.observe(MODELS)


async def test_a_promote_fails_when_one_endpoint_answers_wrongly_and_names_it(pairs: Platform) -> None:
    pairs.repository.golden = GOLDEN
    pairs.engines[B].answer = lambda batch: {"sum": batch.inputs["a"] * (5 if batch.version == 3 else 2)}
    ended = await pairs.promote(3)
    assert ended.state == "failed"
    assert ended.reason.startswith(f"{B}: ")
    assert ended.is_version_bad
    assert (await pairs.ask()).version == 2


async def test_an_unloaded_version_leaves_every_endpoint(pairs: Platform) -> None:
    ended = await pairs.promote(3, keep=0)
    assert (ended.state, ended.reason) == ("done", "")
    for engine in pairs.engines.values():
        assert set(await engine.observe(MODELS)) == {("adder", 3)}


async def test_a_replica_that_dies_while_it_is_warmed_does_not_end_the_promote(one_by_one: Platform) -> None:
    one_by_one.engines[B].answer = dying(one_by_one.engines[B])
    ended = await one_by_one.promote(3)
    assert (ended.state, ended.reason) == ("done", "")
    assert B not in one_by_one.keeper.observed
    assert (await one_by_one.ask(engine="torchserve")).version == 3


async def test_a_version_takes_no_second_replica_along(one_by_one: Platform) -> None:
    one_by_one.engines[A].answer = crashing
    ended = await asyncio.wait_for(one_by_one.promote(3), arrival.PASSING_S)
    assert (ended.state, ended.is_version_bad) == ("failed", True)
    assert ended.reason == f"{A}: its warm-up failed: its worker died of version 3"
    assert set(one_by_one.keeper.observed) == {A, B, TF}
    assert not any(batch.version == 3 for batch in one_by_one.engines[B].batches)
    assert (await one_by_one.ask()).version == 2


async def test_a_replica_that_stays_and_fails_ends_the_promote_after_a_while(
    one_by_one: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "PASSING_S", 0.3)
    one_by_one.engines[B].answer = crashing
    ended = await one_by_one.promote(3)
    assert (ended.state, ended.is_version_bad) == ("failed", True)
    assert ended.reason == f"{B}: its warm-up failed: its worker died of version 3"
    assert (await one_by_one.ask()).version == 2


@pytest.mark.parametrize("error", [EngineRejected, VersionLost])
async def test_what_an_endpoint_that_is_there_says_ends_the_promote_at_once(
    one_by_one: Platform, error: type[ServingError]
) -> None:
    def refusing(batch: EngineBatch) -> Mapping[str, Tensor]:
        if batch.version == 3:
            raise error("it does not like version 3")
        return add(batch)

    one_by_one.engines[B].answer = refusing
    ended = await asyncio.wait_for(one_by_one.promote(3), arrival.PASSING_S)
    assert ended.reason == f"{B}: its warm-up failed: it does not like version 3"


def comparing(platform: Platform, answers: Mapping[str, Answer]) -> list[str]:
    """Let endpoints answer otherwise while they are compared; returns who is asked then, as it comes."""
    asked: list[str] = []

    def answer_of(engine: FakeEngine) -> Answer:
        def answer(batch: EngineBatch) -> Mapping[str, Tensor]:
            if any(rollout.phase == "compare" for rollout in platform.repository.rollouts("adder")):
                asked.append(engine.endpoint)
                return answers.get(engine.endpoint, add)(batch)
            return add(batch)

        return answer

    for engine in platform.engines.values():
        engine.answer = answer_of(engine)
    return asked


@pytest.mark.parametrize("broken", [2, 3], ids=["asked for the live version", "asked for the new one"])
async def test_a_replica_that_dies_while_it_is_compared_leaves_that_to_the_other(pairs: Platform, broken: int) -> None:
    def die(batch: EngineBatch) -> Mapping[str, Tensor]:
        if batch.version != broken:
            return add(batch)
        pairs.engines[A].is_reachable = False
        raise EngineUnreachable("it died while it was compared")

    asked = comparing(pairs, {A: die})
    ended = await pairs.promote(3)
    assert (ended.state, ended.reason) == ("done", "")
    assert {A, B} <= set(asked)


async def test_a_version_that_a_replica_loses_while_it_is_compared_does_not_go_live(pairs: Platform) -> None:
    def lose(batch: EngineBatch) -> Mapping[str, Tensor]:
        if batch.version == 3:
            raise VersionLost("its worker died")
        return add(batch)

    comparing(pairs, {A: lose})
    ended = await pairs.promote(3)
    assert (ended.state, ended.reason) == ("failed", "its worker died")


async def test_what_could_be_compared_nowhere_does_not_go_live(pairs: Platform) -> None:
    def die(batch: EngineBatch) -> Mapping[str, Tensor]:
        raise EngineUnreachable("it died while it was compared")

    def refuse_the_old_one(batch: EngineBatch) -> Mapping[str, Tensor]:
        if batch.version == 2:
            raise EngineFailed("version 2 is sick")
        return add(batch)

    comparing(pairs, {A: lambda batch: add(batch) if batch.version == 2 else die(batch), B: refuse_the_old_one})
    ended = await pairs.promote(3)
    assert (ended.state, ended.reason) == ("failed", "it died while it was compared")
