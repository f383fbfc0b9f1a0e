"""Several endpoints of one engine: who is asked, who is left out, and who comes and goes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from gateway.core.keeper import KeeperLimits
from gateway.core.lifecycle import LaneKey
from gateway.core.ports import PeerReport, VersionState
from gateway.core.trials import TrialLimits
from gateway.core.workload import FIRST_SHARE, Workload
from gateway.engines.fake import FakeEngine
from gateway.platform_state import PlatformState
from tests.unit.gateway.adder import LedgerEvents, add, published
from tests.unit.gateway.wired_core import STRICT, TF, A, B, Gateway, Platform, make_endpoints, running, until
from twinserve.state_view import print_state

MODELS = frozenset({"adder"})


@pytest.fixture
async def pair(events: LedgerEvents) -> Gateway:
    """Two endpoints of TorchServe and one of TensorFlow Serving, looked at once."""
    gateway = Gateway(make_endpoints(), events)
    await gateway.look()
    return gateway


@pytest.fixture
async def pairs(events: LedgerEvents) -> AsyncIterator[Platform]:
    """The same with rollouts, running."""
    platform = Platform(events, make_endpoints())
    async with running(platform):
        yield platform


async def ask_many(gateway: Gateway, requests: int, **question: str) -> Counter[str]:
    """Ask them one after the other; returns how many batches each endpoint got."""
    for engine in gateway.engines:
        engine.batches.clear()
    for _ in range(requests):
        await gateway.ask(**question)  # type: ignore[arg-type]
    return Counter({engine.endpoint: len(engine.batches) for engine in gateway.engines if engine.batches})


async def test_an_engines_share_is_spread_evenly_over_its_endpoints(pair: Gateway) -> None:
    assert await ask_many(pair, 40) == {A: 10, B: 10, TF: 20}
    assert await ask_many(pair, 10, engine="torchserve") == {A: 5, B: 5}


async def test_the_endpoint_that_has_the_least_to_do_is_asked(pair: Gateway) -> None:
    slow = pair.engines[0]
    slow.gate.clear()
    stuck = asyncio.create_task(pair.ask(rows=8, engine="torchserve"))
    await asyncio.wait_for(slow.asked.wait(), 5)
    assert pair.keeper.outstanding_rows(A) == 8
    assert await ask_many(pair, 6, engine="torchserve") == {B: 6}
    slow.gate.set()
    await stuck
    assert await ask_many(pair, 6, engine="torchserve") == {A: 3, B: 3}


async def test_what_waits_for_a_lost_endpoint_goes_to_its_sibling_first(pair: Gateway, events: LedgerEvents) -> None:
    lost = pair.engines[0]
    lost.gate.clear()
    stuck = [asyncio.create_task(pair.ask(value=v, engine="torchserve")) for v in range(8)]
    await asyncio.wait_for(lost.asked.wait(), 5)
    pair.doubt(A)
    answers = await asyncio.gather(*stuck)
    assert [answer.outputs["sum"][0, 0] for answer in answers] == [2 * v for v in range(8)]
    assert {answer.engine for answer in answers} == {"torchserve"}, "the client named the engine, and it can answer"
    assert await ask_many(pair, 8) == {B: 4, TF: 4}, "its engine keeps its share"
    assert events.endpoints == {A: False, B: True, TF: True}
    assert events.states["adder", 2, "torchserve"] is VersionState.READY
    lost.gate.set()
    events.assert_balanced()


async def test_an_engine_is_down_when_all_its_endpoints_are(pair: Gateway, events: LedgerEvents) -> None:
    for engine in pair.engines[:2]:
        engine.is_reachable = False
    assert {(await pair.ask()).engine for _ in range(4)} == {TF}
    await pair.look()
    assert set(pair.keeper.observed) == {TF}
    assert events.states["adder", 2, "torchserve"] is None
    assert pair.keeper.is_ready
    assert events.counts["torchserve down"]


async def test_an_endpoint_that_returns_begins_with_a_small_share(events: LedgerEvents) -> None:
    limits = KeeperLimits(turn_s=0, slow_start_s=3600, trial=STRICT.trial)
    gateway = Gateway(make_endpoints(), events, limits)
    await gateway.look()
    gateway.doubt(A)
    await gateway.look()
    assert A in gateway.keeper.observed
    assert await ask_many(gateway, 4, engine="torchserve") == {B: 4}, "while the other has little to do"
    other = gateway.engines[1]
    other.gate.clear()
    stuck = asyncio.create_task(gateway.ask(rows=64, engine="torchserve"))
    await asyncio.wait_for(other.asked.wait(), 5)
    assert await ask_many(gateway, 4, engine="torchserve") == {A: 4}, "rather than a line"
    other.gate.set()
    await stuck


def test_a_share_grows_to_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("gateway.core.workload.monotonic", lambda: now)
    work = Workload()
    assert work.share == work.cost == 1
    work.begin_slowly(10)
    assert (work.share, work.cost) == (FIRST_SHARE, 1 / FIRST_SHARE)
    now = 105.0
    assert work.share == pytest.approx(0.55)
    now = 110.0
    assert work.share == 1
    now = 101.0
    assert work.share == 1, "it is over"


async def test_an_endpoint_without_a_version_gets_no_requests_for_it(pair: Gateway) -> None:
    pair.engines[0].is_obedient = False
    pair.repository.models = (published(live=3, versions=(2, 3)),)
    for _ in range(2):
        await pair.look()
    lanes = pair.router.table.models["adder"].versions[3].lanes
    assert [lane.endpoint for lane in lanes["torchserve"]] == [B]
    assert (await pair.ask()).version == 2, "an endpoint that is up has yet to load it"
    for _ in range(4):
        assert (await pair.ask(version=3, engine="torchserve")).version == 3
    assert not [batch for batch in pair.engines[0].batches if batch.version == 3]


async def test_endpoints_load_one_after_the_other(events: LedgerEvents) -> None:
    gateway = Gateway(make_endpoints(), events, KeeperLimits(turn_s=60))
    await gateway.look()
    first = gateway.engines[0]
    first.is_loading = True
    gateway.repository.models = (published(live=3, versions=(2, 3)),)
    for _ in range(2):
        await gateway.look()
    have = [("adder", 3) in await engine.observe(MODELS) for engine in gateway.engines]
    assert have == [True, False, False]
    assert await ask_many(gateway, 8) == {B: 4, TF: 4}, "the one that loads leaves its share to its sibling"
    first.is_loading = False
    for _ in range(2):
        await gateway.look()
    assert all([("adder", 3) in await engine.observe(MODELS) for engine in gateway.engines])


async def test_what_an_endpoint_serves_is_seen_by_the_endpoint_in_other_processes(pair: Gateway) -> None:
    pair.peers.reports = {"there": PeerReport({B: frozenset({("adder", 1)})}, {}, {})}
    pair.repository.models = (published(kept=()),)
    await pair.look()
    have = {engine.endpoint: ("adder", 1) in await engine.observe(MODELS) for engine in pair.engines}
    assert have == {A: False, B: True, TF: False}


async def test_a_new_endpoint_takes_part_once_it_has_the_live_version(pairs: Platform) -> None:
    new = FakeEngine("torchserve", add, "torchserve/c:8080")
    new.is_loading = True
    pairs.keeper.join(new)
    await until(lambda: pairs.keeper.rounds(new.endpoint) > 1, "it is looked at")
    assert new.endpoint not in pairs.keeper.observed
    new.is_loading = False
    await until(lambda: new.endpoint in pairs.keeper.observed, "it takes part")
    with pytest.raises(ValueError, match="known already"):
        pairs.keeper.join(FakeEngine("torchserve", add, new.endpoint))


async def test_an_endpoint_that_leaves_answers_what_it_was_asked(pairs: Platform, events: LedgerEvents) -> None:
    leaving = pairs.engines[A]
    leaving.gate.clear()
    stuck = [asyncio.create_task(pairs.ask(engine="torchserve")) for _ in range(4)]
    await asyncio.wait_for(leaving.asked.wait(), 5)
    pairs.keeper.leave(A)
    assert ("adder", 2) in pairs.keeper.using[A], "others are told that it must not be unloaded yet"
    asked = len(leaving.batches)
    assert (await pairs.ask(engine="torchserve")).engine == "torchserve"
    assert len(leaving.batches) == asked, "nobody new is sent to it"
    assert leaving.is_reachable, "it is not closed under those who wait"
    leaving.gate.set()
    await asyncio.gather(*stuck)
    await until(lambda: not leaving.is_reachable, "it is closed")
    assert A not in pairs.keeper.using
    assert A not in events.endpoints
    assert any("nowhere/torchserve/a" in what for what in pairs.peers.left), "another process may lead it"


async def test_the_others_go_on_when_one_that_left_cannot_be_closed(
    pairs: Platform, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def close() -> None:
        raise RuntimeError("Unrecognized call object")

    monkeypatch.setattr(pairs.engines[A], "close", close)
    pairs.keeper.leave(A)
    await until(lambda: "could not be closed" in caplog.text, "it was tried")
    rounds = pairs.keeper.rounds(B)
    await until(lambda: pairs.keeper.rounds(B) > rounds + 1, "the others are followed")
    monkeypatch.undo()


async def test_what_waits_for_an_endpoint_that_left_and_is_silent_goes_elsewhere(events: LedgerEvents) -> None:
    limits = KeeperLimits(
        repository_interval_s=0.01, probe_interval_s=0.02, busy_interval_s=0.01, trial=TrialLimits(silence_s=0.05)
    )
    platform = Platform(events, make_endpoints(), limits)
    async with running(platform):
        silent = platform.engines[A]
        silent.gate.clear()
        stuck = [asyncio.create_task(platform.ask(engine="torchserve")) for _ in range(4)]
        await asyncio.wait_for(silent.asked.wait(), 5)
        platform.keeper.leave(A)
        answers = await asyncio.wait_for(asyncio.gather(*stuck), 10)
        assert {answer.engine for answer in answers} == {"torchserve"}
        silent.gate.set()
    events.assert_balanced()


async def test_a_doubt_about_one_that_left_changes_nothing(pair: Gateway) -> None:
    pair.keeper.leave(A)
    before = pair.router.table
    pair.keeper.doubt(LaneKey(A, "adder", 2), is_whole_endpoint=True)
    assert pair.router.table is before


async def test_operators_see_the_endpoints_of_an_engine_that_has_several(
    pairs: Platform, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs.engines[A].is_reachable = False
    await until(lambda: A not in pairs.keeper.observed, "it is lost")
    shown = PlatformState(pairs.keeper, pairs.rollouts, pairs.peers, pairs.ledger, dict, pairs.mirror).describe()
    torchserve, tfserving = shown["engines"]
    assert (torchserve["engine"], torchserve["up"], tfserving["engine"]) == ("torchserve", True, TF)
    assert torchserve["endpoints"] == [
        {"endpoint": A, "up": False, "outstanding_rows": 0},
        {"endpoint": B, "up": True, "outstanding_rows": 0},
    ]
    assert "endpoints" not in tfserving
    [live] = [version for version in shown["models"][0]["versions"] if version["version"] == 2]
    assert live["engines"]["torchserve"]["state"] == "ready"
    assert {name: seen["state"] for name, seen in live["engines"]["torchserve"]["endpoints"].items()} == {
        A: "unknown",
        B: "ready",
    }
    assert live["engines"][TF] == {"state": "ready", "reason": ""}
    monkeypatch.setenv("COLUMNS", "200")
    print_state(shown)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in printed if line.strip().startswith((A, B))] == ["NO", "yes"]
    assert f"version 2 on {A}: unknown: the endpoint is down" in printed
