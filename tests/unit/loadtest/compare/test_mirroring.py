"""An engine that answers copies of the other's requests is not compared with it."""

import asyncio

import pytest

from loadtest.compare.deployment import CannotRun
from loadtest.compare.mirroring import check_not_mirrored, count_copies
from tests.unit.loadtest.compare.fake_deployment import MODEL, TOKEN, FakeDeployment, serving


async def test_a_mirrored_model_is_refused_with_what_to_do() -> None:
    async with serving(FakeDeployment(mirror={"tfserving": 0.1})) as deployment:
        with pytest.raises(CannotRun) as refused:
            await asyncio.to_thread(check_not_mirrored, deployment.url, MODEL, TOKEN)
    assert "0.1 of the answers are copied to tfserving" in str(refused.value)
    assert str(refused.value).endswith("twinserve route mnist --mirror tfserving=0")


@pytest.mark.parametrize(
    ("deployment", "token"),
    [
        (FakeDeployment(), TOKEN),
        (FakeDeployment(mirror={"tfserving": 0.0}), TOKEN),
        (FakeDeployment(mirror={"tfserving": 0.1}), None),
        (FakeDeployment(mirror={"tfserving": 0.1}), "another platform's"),
    ],
    ids=["not mirrored", "no more", "no token", "not its token"],
)
async def test_nobody_else_is_refused(deployment: FakeDeployment, token: str | None) -> None:
    async with serving(deployment):
        await asyncio.to_thread(check_not_mirrored, deployment.url, MODEL, token)


async def test_copies_are_counted_for_whoever_could_not_ask() -> None:
    async with serving(FakeDeployment(copies={"match": 40, "mismatch": 1, "error": 1, "dropped": 99})) as deployment:
        assert await asyncio.to_thread(count_copies, deployment.url, MODEL) == 42
        assert await asyncio.to_thread(count_copies, deployment.url, "another") == 0
