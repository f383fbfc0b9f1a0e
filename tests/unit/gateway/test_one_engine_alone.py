"""Versions made for one engine alone: loaded, promoted and routed there, and nobody waits for the other engine."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.plan import Plan
from gateway.core.published import PublishedModel, PublishedVersion
from gateway.repository import DirectoryRepository
from tests.unit.gateway.adder import ADDER, LedgerEvents, published
from tests.unit.gateway.test_repository import MANIFEST, publish
from tests.unit.gateway.wired_core import Engines, Gateway, Platform, is_ready, running

ALONE = frozenset({"tfserving"})


def alone(model: PublishedModel) -> PublishedModel:
    versions = {number: PublishedVersion(number, ADDER, None, ALONE) for number in model.versions}
    return replace(model, versions=versions)


async def test_the_other_engine_is_not_told_of_it(engines: Engines, events: LedgerEvents) -> None:
    gateway = Gateway(engines, events)
    gateway.repository.models = (alone(published()),)
    await gateway.look()
    assert is_ready(gateway)
    torchserve, tfserving = engines
    assert await torchserve.observe(frozenset({"adder"})) == {}
    assert set(await tfserving.observe(frozenset({"adder"}))) == {("adder", 1), ("adder", 2)}
    assert {(await gateway.ask()).engine for _ in range(4)} == ALONE
    with pytest.raises(InvalidRequest, match="adder version 2 is for tfserving alone, not for 'torchserve'"):
        await gateway.ask(engine="torchserve")


async def test_an_engine_that_was_lost_returns_without_it(engines: Engines, events: LedgerEvents) -> None:
    gateway = Gateway(engines, events)
    gateway.repository.models = (alone(published()),)
    await gateway.look()
    gateway.doubt("torchserve")
    assert "torchserve" not in gateway.keeper.observed
    await gateway.look()
    assert "torchserve" in gateway.keeper.observed


async def test_what_both_had_leaves_the_engine_that_the_next_version_is_not_for(
    engines: Engines, events: LedgerEvents
) -> None:
    gateway = Gateway(engines, events)
    both = published(live=1, versions=(1,), kept=())
    gateway.repository.models = (both,)
    await gateway.look()
    assert set(await engines[0].observe(frozenset({"adder"}))) == {("adder", 1)}
    other = PublishedVersion(2, ADDER, None, ALONE)
    gateway.repository.models = (replace(both, live=2, versions={**both.versions, 2: other}),)
    for _ in range(4):
        await gateway.look()
    answer = await gateway.ask()
    assert (answer.engine, answer.version) == ("tfserving", 2)
    assert await engines[0].observe(frozenset({"adder"})) == {}


async def test_it_is_promoted_and_rolled_back_without_the_other(events: LedgerEvents) -> None:
    platform = Platform(events)
    platform.repository.models = (alone(platform.model),)
    async with running(platform):
        record = await platform.promote(3)
        assert (record.state, record.reason) == ("done", "")
        assert (await platform.ask()).version == 3
        assert await platform.held("torchserve") == set()
        with pytest.raises(InvalidRequest, match="version 1 of 'adder' is not for 'torchserve'"):
            await platform.rollouts.promote("adder", Plan(1, engines=("torchserve",)))
        begun = await platform.rollouts.roll_back("adder")
        record = await asyncio.wait_for(platform.rollouts.wait("adder", begun), 10)
        assert (record.state, list(record.phases)) == ("done", ["flip"])
        assert (await platform.ask()).version == 2


async def test_it_is_promoted_while_the_other_is_down(events: LedgerEvents) -> None:
    platform = Platform(events)
    platform.repository.models = (alone(platform.model),)
    async with running(platform):
        platform.engines["torchserve"].is_reachable = False
        assert (await platform.promote(3)).state == "done"


def test_the_manifest_tells_the_engines(tmp_path: Path) -> None:
    paths = publish(tmp_path, 1, json.dumps(MANIFEST | {"made_from": {"tfserving": "saved_model"}}))
    publish(tmp_path, 2, json.dumps(MANIFEST | {"version": 2}))
    paths.live.write_text('{"live": 1}')
    model = DirectoryRepository(tmp_path).scan()["adder"]
    assert [model.is_for(version, "torchserve") for version in (1, 2, 3)] == [False, True, False]
    assert model.is_for(1, "tfserving")
