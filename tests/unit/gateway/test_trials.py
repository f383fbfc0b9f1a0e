"""An engine that is silent, or was lost, proves itself before it takes part again."""

import asyncio

import pytest

from gateway.core.errors import DeadlineExceeded
from tests.unit.gateway.adder import LedgerEvents
from tests.unit.gateway.wired_core import Gateway


async def test_a_silent_engine_is_tried_left_out_and_its_requests_move_over(
    gateway: Gateway, events: LedgerEvents
) -> None:
    """As with SIGSTOP: it takes connections, observes well, and answers nothing."""
    silent, other = gateway.engines
    silent.gate.clear()
    stuck = [asyncio.create_task(gateway.ask(value=v)) for v in range(8)]
    await asyncio.wait_for(silent.asked.wait(), 5)
    await gateway.look()
    answers = await asyncio.gather(*stuck)
    assert {a.engine for a in answers} == {other.name}
    assert [a.outputs["sum"][0, 0] for a in answers] == [2 * v for v in range(8)]
    assert {(await gateway.ask()).engine for _ in range(4)} == {other.name}
    await gateway.look()
    assert set(gateway.keeper.observed) == {other.name}, "it does not come back while its trial is not answered"
    silent.gate.set()
    await gateway.look()
    assert {(await gateway.ask()).engine for _ in range(4)} == {silent.name, other.name}
    events.assert_balanced()


async def test_impatient_clients_do_not_eject_an_engine(gateway: Gateway, events: LedgerEvents) -> None:
    """Deadlines too short for any engine leave it silent, so it is tried, answers, and stays."""
    for engine in gateway.engines:
        engine.gate.clear()
    with pytest.raises(DeadlineExceeded):
        await gateway.ask(timeout_s=0.001)
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
    assert {(await gateway.ask()).engine for _ in range(4)} == {other.name}
    lost.is_loading = False
    await gateway.look()
    assert {(await gateway.ask()).engine for _ in range(4)} == {lost.name, other.name}
