"""Swaps as a part of a comparison: when they can be done, and that the gateway is left as it was found."""

import asyncio
from pathlib import Path

import pytest

from loadtest.admin import find_token
from loadtest.compare.deployment import Deployment
from loadtest.compare.questions import Questions, read_questions
from loadtest.compare.results import Label
from loadtest.compare.swapping import CannotSwap, Swapping, prepare_swaps, run_swaps
from loadtest.compare.timeline import SwapTimeline
from tests.unit.loadtest.fake_gateway import MODEL, TOKEN, FakeGateway, Faults, fake_gateway, golden, publish

LIVE = 2


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.compare.swapping._LEAD_S", 0.1)
    monkeypatch.setattr("loadtest.compare.swapping._GAP_S", 0.05)
    monkeypatch.setattr("loadtest.turns._PAUSE_S", 0.01)
    monkeypatch.setattr("loadtest.turns._PUT_BACK_TIMEOUT_S", 0.5)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for version in (1, 2):
        publish(tmp_path, version, golden(version))
    return tmp_path


def deployment(gateway: FakeGateway, questions: Questions) -> Deployment:
    labels = (Label("torchserve", "torchserve"), Label("tfserving", "embedded"))
    return Deployment(gateway.url, "127.0.0.1", 0, MODEL, LIVE, labels, questions, {}, {})


async def prepare(gateway: FakeGateway, repository: Path, swaps: int = 2, token: str | None = TOKEN) -> Swapping:
    questions = read_questions(repository, MODEL, LIVE)
    assert questions is not None
    return await asyncio.to_thread(prepare_swaps, deployment(gateway, questions), token, repository, swaps, 0)


@pytest.mark.parametrize("swaps", [1, 2, 3])
async def test_versions_change_places_and_the_live_one_is_put_back(repository: Path, swaps: int) -> None:
    said: list[str] = []
    async with fake_gateway() as gateway:
        swapping = await prepare(gateway, repository, swaps)
        timeline = await run_swaps(swapping, 1000.0, said.append, asyncio.Event())
        assert gateway.live == LIVE
    assert [change.version for change in timeline.changes] == [1, 2, 1][:swaps]
    assert timeline.report.is_good, timeline.report
    assert set(timeline.versions) == {"1", "2"}
    assert (timeline.errors, timeline.put_back_fault, timeline.rate_per_s) == (0, "", 200.0)


async def test_what_was_kept_is_kept_again(repository: Path) -> None:
    async with fake_gateway() as gateway:
        gateway.kept = [1]
        swapping = await prepare(gateway, repository)
        await run_swaps(swapping, 100.0, lambda _: None, asyncio.Event())
        assert [body["keep"] for body in gateway.bodies] == [0, 1]


async def prepare_three(gateway: FakeGateway, repository: Path, swaps: int) -> Swapping:
    """Versions 1, 2 and 3 are published, 2 is live and 1 is kept beside it."""
    publish(repository, 3, golden(3))
    gateway.ledgers[3] = dict(gateway.ledgers[1])
    gateway.kept = [1]
    return await prepare(gateway, repository, swaps)


@pytest.mark.parametrize("swaps", [1, 2])
async def test_of_three_versions_the_live_and_the_kept_one_change_places(repository: Path, swaps: int) -> None:
    async with fake_gateway() as gateway:
        swapping = await prepare_three(gateway, repository, swaps)
        assert swapping.versions == (LIVE, 1)
        timeline = await run_swaps(swapping, 100.0, lambda _: None, asyncio.Event())
        assert (gateway.live, gateway.kept) == (LIVE, [1])
    assert (set(timeline.versions), timeline.put_back_fault) == ({"1", "2"}, "")


async def interrupt_second_swap(swapping: Swapping) -> SwapTimeline:
    """The live version is live again by then, and nothing is kept."""
    interrupted = asyncio.Event()

    def interrupt(line: str) -> None:
        if line.startswith("2/"):
            interrupted.set()

    return await run_swaps(swapping, 100.0, interrupt, interrupted)


async def test_an_interruption_leaves_what_was_kept_kept(repository: Path) -> None:
    async with fake_gateway() as gateway:
        timeline = await interrupt_second_swap(await prepare_three(gateway, repository, 4))
        assert (gateway.live, gateway.kept) == (LIVE, [1])
    assert len(timeline.changes) == 2
    assert timeline.put_back_fault == ""


async def test_a_kept_version_that_cannot_be_put_back_is_told(repository: Path) -> None:
    async with fake_gateway(Faults(refused_swaps=frozenset(range(2, 10_000)))) as gateway:
        timeline = await interrupt_second_swap(await prepare_three(gateway, repository, 4))
        assert (gateway.live, gateway.kept) == (LIVE, [])
    assert timeline.put_back_fault.startswith("loaded beside it are [], not [1]: ")


async def test_a_swap_that_fails_is_told_and_the_live_version_stays(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadtest.swap_run.FOLLOW_TIMEOUT_S", 0.1)
    async with fake_gateway(Faults(failed_swaps=frozenset({0, 1}))) as gateway:
        timeline = await run_swaps(await prepare(gateway, repository), 100.0, lambda _: None, asyncio.Event())
        assert gateway.live == LIVE
    assert [bool(change.fault) for change in timeline.changes] == [True, True]
    assert timeline.put_back_fault == ""


async def test_a_version_that_cannot_be_put_back_is_told(repository: Path) -> None:
    said: list[str] = []
    async with fake_gateway(Faults(refused_swaps=frozenset(range(1, 10_000)))) as gateway:
        timeline = await run_swaps(await prepare(gateway, repository, 1), 100.0, said.append, asyncio.Event())
        assert gateway.live == 1
    assert timeline.put_back_fault.startswith("version 1 is live, not 2: ")
    assert "a change is already under way" in timeline.put_back_fault
    assert any("version 2 is not put back" in line for line in said)


async def test_without_what_it_takes_nothing_is_done(repository: Path, tmp_path: Path) -> None:
    async with fake_gateway() as gateway:
        with pytest.raises(CannotSwap, match="no operators' token"):
            await prepare(gateway, repository, token=None)
        with pytest.raises(CannotSwap, match="401"):
            await prepare(gateway, repository, token="guessed")
        drawn = Questions({}, {}, LIVE, "drawn inputs, answers of the first engine")
        with pytest.raises(CannotSwap, match="no golden rows"):
            await asyncio.to_thread(prepare_swaps, deployment(gateway, drawn), TOKEN, repository, 2, 0)
        del gateway.ledgers[1]
        with pytest.raises(CannotSwap, match="two published versions"):
            await prepare(gateway, repository)
        assert gateway.bodies == []
        assert gateway.received == 0


def test_the_token_is_that_of_the_environment_or_of_the_run_directory(tmp_path: Path) -> None:
    assert find_token({}, tmp_path) is None
    (tmp_path / "admin-token").write_text("from the file\n")
    assert find_token({}, tmp_path) == "from the file"
    assert find_token({"TWINSERVE_ADMIN_TOKEN": "from the environment"}, tmp_path) == "from the environment"
    (tmp_path / "other").write_text("from another")
    assert find_token({"TWINSERVE_ADMIN_TOKEN_FILE": str(tmp_path / "other")}, tmp_path) == "from another"
