"""A platform whose versions took turns is left as it was found, live and loaded."""

import asyncio
from pathlib import Path

import pytest

from loadtest.factors.versions import Platform
from loadtest.turns import CannotTakeTurns, Found
from tests.unit.loadtest.fake_gateway import MODEL, TOKEN, FakeGateway, Faults, fake_gateway, golden, publish


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.turns._PAUSE_S", 0.01)
    monkeypatch.setattr("loadtest.turns._PUT_BACK_TIMEOUT_S", 0.5)
    monkeypatch.setenv("TWINSERVE_ADMIN_TOKEN", TOKEN)


def platform(gateway: FakeGateway, repository: Path, versions: tuple[int, ...] = (1, 2, 3)) -> Platform:
    for version in versions:
        publish(repository, version, golden(version))
        gateway.ledgers.setdefault(version, {"accepted": 0, "answered": 0, "failed": 0})
    return Platform(gateway.url + "/", MODEL, repository)


@pytest.mark.parametrize(("kept", "other"), [([], 3), ([2], 2)])
async def test_the_live_version_changes_with_one_that_is_loaded_or_the_newest(
    tmp_path: Path, kept: list[int], other: int
) -> None:
    async with fake_gateway() as gateway:
        gateway.live, gateway.kept = 1, kept
        found = await asyncio.to_thread(platform(gateway, tmp_path).find)
        assert found == Found(1, other, tuple(kept))
        assert gateway.bodies == []


@pytest.mark.parametrize("found", [Found(1, 2, (2,)), Found(1, 3, ()), Found(2, 1, (1, 3)), Found(3, 2, (2,))])
@pytest.mark.parametrize(("live", "kept"), [(1, []), (3, []), (2, [3]), (1, [3]), (1, [3, 2])])
async def test_live_and_kept_are_put_back(tmp_path: Path, found: Found, live: int, kept: list[int]) -> None:
    async with fake_gateway() as gateway:
        gateway.live, gateway.kept = live, kept
        assert await asyncio.to_thread(platform(gateway, tmp_path).put_back, found) == ""
        assert (gateway.live, set(gateway.kept)) == (found.live, set(found.kept))


async def test_nothing_is_promoted_where_all_is_as_it_was(tmp_path: Path) -> None:
    async with fake_gateway() as gateway:
        assert await asyncio.to_thread(platform(gateway, tmp_path).put_back, Found(2, 1, ())) == ""
        assert gateway.bodies == []


async def test_what_is_refused_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_gateway(Faults(refused_swaps=frozenset(range(10_000)))) as gateway:
        fault = await asyncio.to_thread(platform(gateway, tmp_path).put_back, Found(1, 2, ()))
        assert "version 2 is live, not 1" in fault
        assert "a change is already under way" in fault
        monkeypatch.delenv("TWINSERVE_ADMIN_TOKEN")
        no_token = Platform(gateway.url, MODEL, tmp_path, home=tmp_path)
        with pytest.raises(CannotTakeTurns, match="no operators' token"):
            await asyncio.to_thread(no_token.find)


async def test_one_version_has_none_to_change_with(tmp_path: Path) -> None:
    async with fake_gateway() as gateway:
        alone = platform(gateway, tmp_path, versions=(2,))
        with pytest.raises(CannotTakeTurns, match="two published versions"):
            await asyncio.to_thread(alone.find)
