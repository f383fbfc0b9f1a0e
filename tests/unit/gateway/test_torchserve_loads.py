"""Versions that TorchServe lists but that nobody loads: left by an unloading that went wrong, and loaded anew."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.core.lifecycle import needs_change
from gateway.core.ports import Observed, VersionState
from gateway.engines import torchserve_loads
from gateway.engines.torchserve import TorchServe
from gateway.engines.torchserve_loads import LOAD_TIMEOUT_S, STRANDED_S, Description, Loads, Worker
from tests.platform_process import wait_until_async
from tests.unit.gateway.fake_torchserve import READY, STARTING, FakeTorchServe, fake_torchserve

KEY = ("adder", 3)
MODELS = frozenset({"adder"})
BARE = Description("3")
LOADING, IS_READY = Observed(VersionState.LOADING), Observed(VersionState.READY)


@pytest.fixture
async def torchserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeTorchServe]:
    monkeypatch.setattr(torchserve_loads, "STRANDED_S", 0.1)
    async with fake_torchserve(tmp_path) as fake:
        yield fake


@pytest.fixture
async def engine(torchserve: FakeTorchServe) -> AsyncIterator[TorchServe]:
    engine = torchserve.engine()
    yield engine
    await engine.close()


async def follow_until_ready(engine: TorchServe, versions: set[int]) -> None:
    """As the leading gateway process does: look, and tell it what to hold where that is due."""
    desired = {"adder": frozenset(versions)}
    wanted = {("adder", version): IS_READY for version in versions}

    async def is_so() -> bool:
        observed = await engine.observe(MODELS)
        if needs_change(desired, observed):
            await engine.serve(desired)
        return observed == wanted

    await wait_until_async(is_so, 10, f"versions {versions} ready, and no others")


@pytest.mark.parametrize("default", ["2", "3"])
async def test_one_that_nobody_loads_is_registered_again(
    torchserve: FakeTorchServe, engine: TorchServe, default: str
) -> None:
    torchserve.workers, torchserve.default = {"2": [READY], "3": []}, default
    await follow_until_ready(engine, {2, 3})
    assert torchserve.calls == ["unregister 3", "register 3"], "and the other is left alone"


async def test_one_that_is_alone_is_registered_again(torchserve: FakeTorchServe, engine: TorchServe) -> None:
    torchserve.workers, torchserve.default = {"3": []}, "3"
    await follow_until_ready(engine, {3})
    assert torchserve.calls == ["unregister 3", "register 3"]


async def test_a_model_of_which_nothing_is_wanted_leaves(torchserve: FakeTorchServe, engine: TorchServe) -> None:
    torchserve.workers, torchserve.default = {"2": [READY], "3": [READY]}, "2"
    await follow_until_ready(engine, set())
    assert torchserve.workers == {}


async def test_a_process_that_does_not_lead_only_looks(torchserve: FakeTorchServe, engine: TorchServe) -> None:
    """It sees that somebody else has it loaded anew, and how that goes."""
    torchserve.workers = {"3": []}

    async def is_seen_as(state: VersionState) -> bool:
        return (await engine.observe(MODELS))[KEY].state is state

    assert await is_seen_as(VersionState.LOADING)
    await wait_until_async(lambda: is_seen_as(VersionState.UNLOADING), 5, "it is stranded")
    torchserve.workers = {"3": [STARTING]}
    assert await is_seen_as(VersionState.LOADING)
    torchserve.workers = {"3": [READY]}
    assert await is_seen_as(VersionState.READY)
    assert torchserve.calls == []


async def test_another_process_may_have_been_first(torchserve: FakeTorchServe, engine: TorchServe) -> None:
    torchserve.workers, torchserve.new_workers = {"2": [READY]}, []
    other = torchserve.engine()
    await other.serve({"adder": frozenset({2, 3})})
    await other.close()
    await engine._register("adder", 3)  # which TorchServe answers with 409
    torchserve.new_workers = [READY]
    await follow_until_ready(engine, {2, 3})
    assert torchserve.calls == ["register 3", "register 3", "unregister 3", "register 3"]


async def test_one_without_workers_that_is_not_wanted_goes_whatever_waits_for_it(
    torchserve: FakeTorchServe, engine: TorchServe
) -> None:
    torchserve.workers, torchserve.default, torchserve.pending = {"2": [READY], "3": []}, "3", 4
    await follow_until_ready(engine, {2})
    assert torchserve.calls == ["unregister 3"]


def seen(loads: Loads, now: float, *workers: Worker) -> VersionState:
    return loads.judge(KEY, Description("3", list(workers)), now).state


def test_it_is_stranded_only_when_it_stays_so() -> None:
    loads = Loads()
    assert seen(loads, 0) is VersionState.LOADING
    assert seen(loads, STRANDED_S) is VersionState.LOADING
    assert not loads.is_stranded(KEY, BARE, STRANDED_S)
    assert seen(loads, STRANDED_S + 1) is VersionState.UNLOADING
    assert loads.is_stranded(KEY, BARE, STRANDED_S + 1)
    assert not loads.is_stranded(KEY, Description("3", [Worker("UNLOADING")]), STRANDED_S + 1), "one came just now"


def test_a_worker_in_between_begins_the_time_anew() -> None:
    loads = Loads()
    seen(loads, 0)
    seen(loads, 9, Worker("UNLOADING"))
    assert seen(loads, 11) is VersionState.LOADING
    assert seen(loads, 11 + STRANDED_S + 1) is VersionState.UNLOADING
    assert seen(loads, LOAD_TIMEOUT_S + 20, Worker("UNLOADING")) is VersionState.LOADING, "all its time again"


def test_what_this_process_registers_has_all_its_time_and_then_has_failed() -> None:
    """Else one that never gets a worker would be registered again and again."""
    loads = Loads()
    loads.begin(KEY, 0)
    assert seen(loads, 1) is VersionState.LOADING
    assert seen(loads, LOAD_TIMEOUT_S) is VersionState.LOADING
    assert seen(loads, LOAD_TIMEOUT_S + 1) is VersionState.ERROR


def test_what_was_ready_once_is_loaded_anew_whoever_registered_it() -> None:
    loads = Loads()
    loads.begin(KEY, 0)
    assert seen(loads, 1, Worker("READY", 7)) is VersionState.READY
    assert seen(loads, 2) is VersionState.LOADING
    assert seen(loads, 3 + STRANDED_S) is VersionState.UNLOADING


def test_what_is_not_listed_any_more_is_forgotten() -> None:
    loads = Loads()
    loads.begin(KEY, 0)
    loads.keep_only("other", frozenset())
    assert seen(loads, LOAD_TIMEOUT_S + 1) is VersionState.ERROR
    loads.keep_only("adder", frozenset({2}))
    assert seen(loads, LOAD_TIMEOUT_S + 1) is VersionState.LOADING
