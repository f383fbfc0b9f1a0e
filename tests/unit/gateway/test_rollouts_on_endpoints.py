"""Rollouts where an engine has several endpoints: what one of them does must not be taken for the version's doing."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest

from gateway.core import arrival
from gateway.core.errors import EngineUnreachable
from gateway.core.messages import EngineBatch
from gateway.core.tensors import Tensor
from gateway.engines.fake import Answer, FakeEngine
from tests.unit.gateway.adder import LedgerEvents, add
from tests.unit.gateway.wired_core import GOLDEN, A, B, Platform, make_endpoints, running, until

MODELS = frozenset({"adder"})


@pytest.fixture
async def pairs(events: LedgerEvents) -> AsyncIterator[Platform]:
    """Two endpoints of TorchServe and one of TensorFlow Serving, running."""
    platform = Platform(events, make_endpoints())
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


async def test_a_replica_that_dies_while_it_is_warmed_does_not_end_the_promote(pairs: Platform) -> None:
    pairs.engines[A].answer = dying(pairs.engines[A])
    ended = await pairs.promote(3)
    assert (ended.state, ended.reason) == ("done", "")
    assert A not in pairs.keeper.observed
    assert (await pairs.ask(engine="torchserve")).version == 3


async def test_a_version_that_kills_every_replica_fails_at_once(pairs: Platform) -> None:
    for endpoint in (A, B):
        pairs.engines[endpoint].answer = crashing
    ended = await asyncio.wait_for(pairs.promote(3), arrival.PASSING_S)
    assert ended.state == "failed"
    assert "its worker died of version 3" in ended.reason
    assert (await pairs.ask()).version == 2


async def test_a_version_that_one_replica_never_answers_with_fails_in_time(
    pairs: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "PASSING_S", 0.3)
    pairs.engines[B].answer = crashing
    ended = await pairs.promote(3)
    assert (ended.state, ended.is_version_bad) == ("failed", True)
    assert ended.reason.startswith(f"{B}: its warm-up failed: its worker died")
    assert (await pairs.ask()).version == 2


@pytest.mark.parametrize("asks", [1, 2], ids=["the live version first", "the new one"])
async def test_a_replica_that_dies_while_it_is_compared_leaves_that_to_the_other(pairs: Platform, asks: int) -> None:
    first = pairs.keeper.endpoints("torchserve")[0]
    compared: list[str] = []

    def compare_on(engine: FakeEngine) -> Answer:
        def answer(batch: EngineBatch) -> Mapping[str, Tensor]:
            if any(rollout.phase == "compare" for rollout in pairs.repository.rollouts("adder")):
                compared.append(engine.endpoint)
                if engine is first and len(compared) >= asks:
                    engine.is_reachable = False
                    raise EngineUnreachable("it died while it was compared")
            return add(batch)

        return answer

    for endpoint in (A, B):
        pairs.engines[endpoint].answer = compare_on(pairs.engines[endpoint])
    ended = await pairs.promote(3)
    assert (ended.state, ended.reason) == ("done", "")
    assert compared[:asks] == [first.endpoint] * asks
    assert B in compared
