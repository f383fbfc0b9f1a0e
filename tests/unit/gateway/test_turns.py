"""Engines that answer clients load one after the other."""

from dataclasses import replace

from gateway.core.keeper import KeeperLimits
from gateway.core.ports import Observed, VersionState
from gateway.core.published import PublishedModel, PublishedVersion
from gateway.core.routes import Snapshot
from gateway.core.turns import LoadTurns
from tests.platform_process import wait_until_async
from tests.unit.gateway.adder import ADDER, LedgerEvents, published
from tests.unit.gateway.wired_core import Engines, Gateway

READY = Observed(VersionState.READY)
HELD = {("adder", 2): READY}
MODEL = published(live=3, versions=(2, 3), kept=(2,))
DESIRED = {"adder": frozenset({2, 3})}
WITHOUT = {"adder": frozenset({2})}


def seen(
    state: VersionState | None, model: PublishedModel = MODEL, up: tuple[str, ...] = ("torchserve", "tfserving")
) -> Snapshot:
    """Those that are up answer with version 2; the first has 3 in this state."""
    first = HELD if state is None else HELD | {("adder", 3): Observed(state)}
    observed = {engine: held for engine, held in (("torchserve", first), ("tfserving", HELD)) if engine in up}
    return Snapshot(("torchserve", "tfserving"), {"adder": model}, observed, {"adder": 2}, frozenset())


async def test_the_second_waits_while_the_first_has_not_loaded() -> None:
    turns = LoadTurns(60)
    for state in (None, VersionState.LOADING, VersionState.WARMING):
        assert turns.leave_out("torchserve", DESIRED, HELD, seen(state)) == DESIRED
        assert turns.leave_out("tfserving", DESIRED, HELD, seen(state)) == WITHOUT
        assert (turns.is_waiting("torchserve"), turns.is_waiting("tfserving")) == (False, True)


async def test_it_waits_no_longer_once_the_first_is_through_or_has_failed() -> None:
    for state in (VersionState.READY, VersionState.ERROR):
        turns = LoadTurns(60)
        assert turns.leave_out("tfserving", DESIRED, HELD, seen(None)) == WITHOUT
        assert turns.leave_out("tfserving", DESIRED, HELD, seen(state)) == DESIRED
        assert not turns.is_waiting("tfserving")


async def test_nobody_waits_for_ever() -> None:
    turns = LoadTurns(0.05)
    assert turns.leave_out("tfserving", DESIRED, HELD, seen(VersionState.LOADING)) == WITHOUT

    async def is_let_go() -> bool:
        return turns.leave_out("tfserving", DESIRED, HELD, seen(VersionState.LOADING)) == DESIRED

    await wait_until_async(is_let_go, 10, "its time is over")


async def test_nobody_waits_for_an_engine_that_answers_nobody_or_has_nothing_to_load() -> None:
    turns = LoadTurns(60)
    for up in ("torchserve", "tfserving"):
        assert turns.leave_out("tfserving", DESIRED, HELD, seen(None, up=(up,))) == DESIRED
    only = PublishedVersion(3, ADDER, None, frozenset({"tfserving"}))
    model = replace(MODEL, versions={**MODEL.versions, 3: only})
    assert turns.leave_out("tfserving", DESIRED, HELD, seen(None, model)) == DESIRED


async def test_a_new_version_reaches_both_engines_in_turn(engines: Engines, events: LedgerEvents) -> None:
    gateway = Gateway(engines, events, KeeperLimits(turn_s=60))
    await gateway.look()
    first, second = engines
    first.is_loading = True
    gateway.repository.models = (MODEL,)
    await gateway.look()
    await gateway.look()
    models = frozenset({"adder"})
    assert [("adder", 3) in await engine.observe(models) for engine in engines] == [True, False]
    first.is_loading = False
    await gateway.look()
    assert ("adder", 3) in await second.observe(models)
    assert (await gateway.ask()).version == 3
