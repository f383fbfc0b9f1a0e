"""A version answers its golden inputs before anybody is sent to it."""

import asyncio
from collections.abc import Mapping

import numpy as np

from gateway.core.messages import EngineBatch
from gateway.core.ports import Observed, VersionState
from gateway.core.published import Golden
from gateway.core.tensors import Tensor
from tests.unit.gateway.adder import LedgerEvents, published
from tests.unit.gateway.wired_core import Engines, Gateway, is_ready


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


async def test_a_process_that_does_not_lead_asks_for_one_row_only(engines: Engines, events: LedgerEvents) -> None:
    right = {name: np.ones((4, 2), np.float32) for name in ("a", "b")}
    leading = Gateway(engines, events)
    await leading.look()
    for engine in engines:
        engine.batches.clear()
    following = Gateway(engines, events)
    following.peers.is_leader = False
    following.repository.golden = Golden(right, {"sum": np.full((4, 2), 2, np.float32)})
    await following.look()
    assert [len(batch.inputs["a"]) for batch in engines[0].batches if batch.version == 2] == [1]
    assert is_ready(following)


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


async def test_a_warm_up_whose_connection_is_closed_under_it_is_begun_anew(
    engines: Engines, events: LedgerEvents
) -> None:
    right = {name: np.ones((4, 2), np.float32) for name in ("a", "b")}
    gateway = Gateway(engines, events)
    gateway.repository.golden = Golden(right, {"sum": np.full((4, 2), 2, np.float32)})
    rightly = engines[0].answer

    def close(_: EngineBatch) -> Mapping[str, Tensor]:
        engines[0].answer = rightly
        raise asyncio.CancelledError  # as calls on a gRPC channel end that is closed

    engines[0].answer = close
    for _ in range(3):
        await gateway.look()
    assert is_ready(gateway)
