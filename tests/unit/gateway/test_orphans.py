"""Rollouts whose gateway process died are ended, as what they came to."""

import asyncio
import dataclasses
from collections.abc import Callable

import pytest

from gateway.core.errors import RepositoryFailed
from gateway.core.orphans import ended
from gateway.core.plan import Plan
from gateway.core.ports import PeerReport
from gateway.core.published import CandidateVersion, PublishedModel, Rollout
from tests.unit.gateway.wired_core import Platform, until


async def test_what_a_dead_gateway_left_is_cleaned_up(platform: Platform) -> None:
    """Killed before the flip: the candidate goes. Killed after it: the rollout is done."""
    left = Rollout("r1", "promote", 3, 2, "dead-1", started_at=0.0, phase="warm")
    await platform.repository.record("adder", left)
    candidate = CandidateVersion(3, "r1", "dead-1", expires_at=2e12)
    platform.repository.models = (dataclasses.replace(platform.model, candidate=candidate),)
    await until(lambda: platform.repository.recorded["r1"].state == "failed", "it is ended")
    assert platform.model.candidate is None
    assert platform.repository.recorded["r1"].reason == "the gateway that ran it died"

    await platform.repository.record("adder", Rollout("r2", "promote", 2, 1, "dead-1", started_at=0.0, phase="drain"))
    await until(lambda: platform.repository.recorded["r2"].state == "done", "it went live before")


async def test_what_a_dead_gateway_flipped_with_its_last_breath_is_done(platform: Platform) -> None:
    """The leader has read the candidate; before it withdraws it, the owner, dead by now, had made it live."""
    candidate = CandidateVersion(3, "r1", "dead-1", expires_at=2e12)
    withdraw = platform.repository.change

    async def flip_before(model: str, change: Callable[[PublishedModel], PublishedModel]) -> None:
        platform.repository.models = (dataclasses.replace(platform.model, live=3, previous=2, candidate=None),)
        await withdraw(model, change)

    platform.repository.change = flip_before  # type: ignore[method-assign]
    await platform.repository.record("adder", Rollout("r1", "promote", 3, 2, "dead-1", started_at=0.0, phase="flip"))
    platform.repository.models = (dataclasses.replace(platform.model, candidate=candidate),)
    await until(lambda: platform.repository.recorded["r1"].state != "running", "it is ended")
    assert (platform.repository.recorded["r1"].state, platform.model.live) == ("done", 3)


async def test_after_a_dead_gateway_the_repository_is_changed_once_which_removes_what_it_half_wrote(
    platform: Platform,
) -> None:
    changed = asyncio.Event()
    really = platform.repository.change

    async def seen(model: str, change: Callable[[PublishedModel], PublishedModel]) -> None:
        await really(model, change)
        changed.set()

    platform.repository.change = seen  # type: ignore[method-assign]
    await platform.repository.record("adder", Rollout("r1", "promote", 2, 1, "dead-1", started_at=0.0, phase="drain"))
    await asyncio.wait_for(changed.wait(), 5)
    assert platform.repository.recorded["r1"].state == "done"


async def test_a_living_gateways_rollout_is_left_alone_until_its_claim_runs_out(platform: Platform) -> None:
    platform.peers.reports = {"there": PeerReport({}, {}, {})}
    long_ago = CandidateVersion(3, "r1", "there", expires_at=1.0)
    in_time = dataclasses.replace(long_ago, expires_at=2e12)
    platform.repository.models = (dataclasses.replace(platform.model, candidate=in_time),)
    await until(lambda: ("adder", 3) in platform.keeper.observed["tfserving"], "the candidate is loaded")
    assert platform.model.candidate == in_time
    platform.repository.models = (dataclasses.replace(platform.model, candidate=long_ago),)
    await until(lambda: platform.model.candidate is None, "the claim ran out")


async def test_who_does_not_lead_ends_what_it_could_not_withdraw_once_it_can(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a full disk. Who leads takes it for another's, who lives, until its claim runs out."""

    async def full(*_: object) -> None:
        raise RepositoryFailed("no space left on the device")

    platform.peers.is_leader = False  # so that nobody tells the engines to load version 3, either
    begun = await platform.rollouts.promote("adder", Plan(3, load_timeout_s=0.1))
    for write in ("change", "record"):
        monkeypatch.setattr(platform.repository, write, full)
    await until(lambda: not platform.rollouts._tasks, "it has failed, and nobody was told")
    assert platform.model.candidate is not None
    monkeypatch.undo()
    await until(lambda: platform.model.candidate is None, "the candidate is withdrawn")
    await until(lambda: platform.repository.recorded[begun.id].state == "failed", "and it is written down")
    assert platform.repository.recorded[begun.id].reason == "how it ended could not be written down"


@pytest.mark.parametrize(
    ("live", "is_last", "state", "phase", "reason"),
    [
        (3, True, "done", "", ""),
        (2, True, "failed", "flip", "the gateway that ran it died"),
        # Somebody has promoted since: that version 3 is live says nothing about this rollout.
        (3, False, "failed", "flip", "the gateway that ran it died"),
    ],
)
def test_how_an_orphan_ended(live: int, is_last: bool, state: str, phase: str, reason: str) -> None:
    left = Rollout("r1", "promote", 3, 2, "dead-1", started_at=0.0, phase="flip")
    record = ended(left, live, is_last, "the gateway that ran it died")
    assert (record.state, record.phase, record.reason) == (state, phase, reason)
    assert record.ended_at is not None
