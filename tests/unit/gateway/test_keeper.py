"""The keeper: engines hold what the repository says, and routing follows the engines."""

import asyncio
import dataclasses
from collections.abc import Mapping

import pytest

from gateway.core.errors import NotFound
from gateway.core.keeper import KeeperLimits
from gateway.core.ports import Observed, PeerReport, Using, VersionState
from gateway.core.published import CandidateVersion, PublishedModel
from tests.unit.gateway.adder import LedgerEvents, ask, published
from tests.unit.gateway.wired_core import Engines, Gateway, is_ready


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


async def test_a_process_that_joins_waits_for_every_engine_but_not_for_ever(
    engines: Engines, events: LedgerEvents
) -> None:
    gateway = Gateway(engines, events)
    engines[1].is_reachable = False
    await gateway.look()
    await asyncio.wait_for(gateway.keeper.wait_ready(0.01), 5)
    joined = asyncio.create_task(gateway.keeper.wait_ready(60))
    await asyncio.sleep(0)
    assert not joined.done(), "one engine answers, and the other may be forced too"
    engines[1].is_reachable = True
    await gateway.look()
    await asyncio.wait_for(joined, 5)


async def test_a_change_of_the_live_version_is_followed(gateway: Gateway) -> None:
    assert (await gateway.ask()).version == 2
    gateway.repository.models = (published(live=1),)
    await gateway.look()
    assert (await gateway.ask()).version == 1


async def test_only_resident_versions_are_held(gateway: Gateway) -> None:
    gateway.repository.models = (published(live=1, versions=(1, 2, 3), kept=(3,)),)
    await gateway.look()
    assert sorted(gateway.router.table.models["adder"].versions) == [1, 3], "the live one and the kept one"
    assert set(await gateway.engines[0].observe(frozenset({"adder"}))) == {("adder", 1), ("adder", 3)}


async def test_what_was_unloaded_is_not_told_to_be_there_any_more(gateway: Gateway, events: LedgerEvents) -> None:
    gateway.repository.models = (published(kept=()),)
    await gateway.look()
    assert ("adder", 1) not in await gateway.engines[0].observe(frozenset({"adder"}))
    for engine in gateway.engines:
        assert events.states["adder", 1, engine.name] is None
        assert events.states["adder", 2, engine.name] is VersionState.READY


async def test_what_an_engine_on_trial_held_is_taken_back_when_it_is_lost_again(
    gateway: Gateway, events: LedgerEvents
) -> None:
    lost = gateway.engines[0]
    gateway.doubt(lost.name)
    assert events.states["adder", 2, lost.name] is None
    lost.restart()
    lost.is_loading = True
    await gateway.look()
    assert events.states["adder", 2, lost.name] is VersionState.LOADING
    assert lost.name not in gateway.keeper.observed, "it is not back in routing yet"
    lost.is_reachable = False
    await gateway.look()
    assert events.states["adder", 2, lost.name] is None


async def test_an_engine_that_refuses_new_versions_keeps_answering_with_the_old(gateway: Gateway) -> None:
    gateway.engines[0].is_obedient = False
    gateway.repository.models = (published(live=3, versions=(2, 3)),)
    await gateway.look()
    table = gateway.router.table.models["adder"].versions
    assert set(table[2].lanes) == {"torchserve", "tfserving"}
    assert set(table[3].lanes) == {"tfserving"}
    answers = [await gateway.ask() for _ in range(4)]
    assert {(a.engine, a.version) for a in answers} == {("torchserve", 2), ("tfserving", 2)}
    gateway.engines[0].is_obedient = True
    await gateway.look()
    assert set(gateway.router.table.models["adder"].versions[3].lanes) == {"torchserve", "tfserving"}
    assert (await gateway.ask()).version == 3


async def test_leases_keep_a_version_until_its_last_request(engines: Engines, events: LedgerEvents) -> None:
    gateway = Gateway(engines, events, KeeperLimits())
    await gateway.look()
    slow = gateway.engines[0]
    slow.gate.clear()
    task = asyncio.create_task(gateway.ask(version=1, engine="torchserve"))
    await asyncio.wait_for(slow.asked.wait(), 5)
    gateway.repository.models = (published(live=2, versions=(1, 2), kept=()),)
    await gateway.look()
    assert ("adder", 1) in await slow.observe(frozenset({"adder"})), "a request holds version 1"
    with pytest.raises(NotFound):
        await gateway.inference.infer(ask(version=1))
    slow.gate.set()
    assert (await task).version == 1
    await gateway.look()
    assert ("adder", 1) not in await slow.observe(frozenset({"adder"}))


async def test_a_version_answers_only_once_it_has_loaded(gateway: Gateway) -> None:
    for engine in gateway.engines:
        engine.is_loading = True
    gateway.repository.models = (published(live=3, versions=(1, 2, 3)),)
    await gateway.look()
    assert (await gateway.ask()).version == 2, "the one before goes on"
    assert is_ready(gateway)
    gateway.engines[0].is_loading = False
    await gateway.look()
    assert (await gateway.ask()).version == 2, "the other engine still loads it"
    gateway.engines[1].is_loading = False
    await gateway.look()
    assert (await gateway.ask()).version == 3


async def test_an_engine_that_loads_leaves_its_share_to_the_other(gateway: Gateway) -> None:
    first, second = gateway.engines
    first.is_loading = True
    gateway.repository.models = (published(versions=(1, 2, 3), kept=(1, 3)),)
    await gateway.look()
    assert {(await gateway.ask()).engine for _ in range(4)} == {second.name}
    assert (await gateway.ask(engine=first.name)).engine == first.name, "who forces it is not asked about that"

    second.gate.clear()
    line = gateway.router.table.models["adder"].versions[2].lanes[second.name][0].batcher
    asked = []
    while not line.is_behind:
        asked.append(asyncio.create_task(gateway.ask(rows=16, engine=second.name)))
        await asyncio.sleep(0)
    assert (await gateway.ask()).engine == first.name, "an engine that loads is better than a line"
    second.gate.set()
    assert {answer.engine for answer in await asyncio.gather(*asked)} == {second.name}

    first.is_loading = False
    await gateway.look()
    await gateway.look()
    assert {(await gateway.ask()).engine for _ in range(4)} == {first.name, second.name}


async def test_no_engine_stands_in_that_has_no_share(gateway: Gateway) -> None:
    first = gateway.engines[0]
    first.is_loading = True
    gateway.repository.models = (published(versions=(1, 2, 3), kept=(1, 3), torchserve=1, tfserving=0),)
    await gateway.look()
    assert {(await gateway.ask()).engine for _ in range(4)} == {first.name}


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


ALONE = {"torchserve": frozenset({("adder", 2)})}
BOTH = {**ALONE, "tfserving": frozenset({("adder", 2)})}


@pytest.mark.parametrize(
    ("using", "was_ready", "is_ready"),
    [(ALONE, True, True), (ALONE, False, False), (BOTH, True, False), ({}, True, False)],
    ids=["they have what it has", "they begin too", "they have more", "they have nothing"],
)
async def test_who_joins_gateways_while_an_engine_is_away_is_ready_with_what_they_have(
    engines: Engines, events: LedgerEvents, using: Using, was_ready: bool, is_ready: bool
) -> None:
    gateway = Gateway(engines, events)
    gateway.peers.reports = {"there": PeerReport(using, {}, {}, was_ready=was_ready)}
    gateway.engines[1].is_reachable = False
    await gateway.look()
    assert gateway.keeper.is_ready is is_ready


async def test_it_becomes_ready_when_they_lose_an_engine_too(engines: Engines, events: LedgerEvents) -> None:
    gateway = Gateway(engines, events)
    gateway.peers.reports = {"there": PeerReport(BOTH, {}, {}, was_ready=True)}
    gateway.engines[1].is_reachable = False
    await gateway.look()
    gateway.peers.reports = {"there": PeerReport(ALONE, {}, {}, was_ready=True)}
    assert not is_ready(gateway)
    waiting = asyncio.create_task(gateway.keeper.wait_ready(60))
    await asyncio.sleep(0)
    gateway.keeper.look_at_repository()
    assert is_ready(gateway)
    await asyncio.wait_for(waiting, 10)


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


async def test_damage_that_was_mended_is_seen_at_the_next_attempt(gateway: Gateway) -> None:
    gateway.repository.damage = {3: "adder.mar was changed"}
    for kept, damage in (((3,), "adder.mar was changed"), ((), ""), ((3,), "")):
        gateway.repository.damage = {3: damage}
        gateway.repository.models = (published(versions=(2, 3), kept=kept),)
        await gateway.look()
    assert gateway.keeper.observed["torchserve"]["adder", 3].state is VersionState.READY


async def test_past_its_claim_a_canary_answers_nobody(gateway: Gateway) -> None:
    candidate = CandidateVersion(3, "r1", "here", expires_at=1.0, share=1.0)
    gateway.repository.models = (dataclasses.replace(published(versions=(1, 2, 3)), candidate=candidate),)
    await gateway.look()
    assert (await gateway.ask()).version == 2
    renewed = dataclasses.replace(candidate, expires_at=2e12)
    gateway.repository.models = (dataclasses.replace(published(versions=(1, 2, 3)), candidate=renewed),)
    await gateway.look()
    assert (await gateway.ask()).version == 3


async def test_a_forced_engine_without_the_canary_answers_with_the_live_version(gateway: Gateway) -> None:
    gateway.engines[1].is_obedient = False
    candidate = CandidateVersion(3, "r1", "here", expires_at=2e12, share=1.0)
    gateway.repository.models = (dataclasses.replace(published(versions=(1, 2, 3)), candidate=candidate),)
    await gateway.look()
    for engine, version in (("torchserve", 3), ("tfserving", 2)):
        answer = await gateway.ask(engine=engine)
        assert (answer.engine, answer.version) == (engine, version)


async def test_a_canary_answers_its_share_and_keys_stick(gateway: Gateway) -> None:
    candidate = CandidateVersion(3, "r1", "here", expires_at=2e12, share=0.25)
    model = dataclasses.replace(published(versions=(1, 2, 3)), candidate=candidate)
    gateway.repository.models = (model,)
    await gateway.look()
    versions = [(await gateway.ask(route_key=f"user-{number}")).version for number in range(400)]
    assert 60 <= versions.count(3) <= 140
    assert set(versions) == {2, 3}
    sticky = f"user-{versions.index(3)}"
    assert {(await gateway.ask(route_key=sticky)).version for _ in range(5)} == {3}
    gateway.repository.models = (dataclasses.replace(model, candidate=dataclasses.replace(candidate, share=1)),)
    await gateway.look()
    assert (await gateway.ask()).version == 3
