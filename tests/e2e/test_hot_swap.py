"""Versions change places under a steady load on real engines: no request fails, is lost, or gets a wrong answer."""

import asyncio
import shutil
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from loadtest.admin import Gateway
from loadtest.known_answers import KnownAnswers
from loadtest.open_loop import Target
from loadtest.swap_report import SwapReport
from loadtest.swap_run import SwapPlan, SwapRun
from loadtest.swaps import describe
from tests.composed.composed_platform import ComposedPlatform
from tests.platform_process import running_platform, wait_until
from tests.served_platform import ServedPlatform
from tests.targets import TargetPlatform

pytestmark = pytest.mark.engines

MODEL = "mnist"
RATE_PER_S = 150.0
SAME_ANSWERS = 40
"""Asked 20 times a second at most, and processes tell each other what they counted four times a second."""


@pytest.fixture(params=[1, 2], ids=["one gateway process", "two gateway processes"])
def swappable(request: pytest.FixtureRequest, tmp_path: Path, target: TargetPlatform) -> Iterator[ServedPlatform]:
    """A platform whose versions may change places: one of the test's own, or the composed one."""
    count: int = request.param
    if target is TargetPlatform.COMPOSE:
        composed: ComposedPlatform = request.getfixturevalue("platform")
        with composed.gateway_processes(count) if count > 1 else nullcontext():
            yield composed
        return
    own = tmp_path / "repository"
    repository = request.getfixturevalue("repository")
    shutil.copytree(repository, own, symlinks=True, ignore=shutil.ignore_patterns(".torchserve"))
    with running_platform(tmp_path, own, {"TWINSERVE_GATEWAY_PROCESSES": str(count)}) as platform:
        yield platform


@pytest.mark.timeout(900)
def test_no_request_notices_a_swap(swappable: ServedPlatform, target: TargetPlatform) -> None:
    count = 10 if target is TargetPlatform.COMPOSE else 2
    promotes = swap(swappable, SwapPlan((1, 2), RATE_PER_S, promotes=count, keep=0, seed=1))
    assert_unnoticed(promotes, swaps=count)
    wait_settled(swappable)
    with_rollbacks = swap(swappable, SwapPlan((1, 2), RATE_PER_S, promotes=2, keep=0, is_rolled_back=True, seed=2))
    assert_unnoticed(with_rollbacks, swaps=4)
    assert (promotes.stale, with_rollbacks.stale) == (0, 0)  # a swap is done when every gateway process follows it
    assert [line.kind for line in with_rollbacks.swaps] == ["promote", "rollback"] * 2


def wait_settled(platform: ServedPlatform) -> None:
    """Until every gateway process has heard what the others have counted: whichever is asked, says the same."""
    seen: list[object] = []

    def is_settled() -> bool:
        seen.append(platform.state()["models"])
        return len(seen) > SAME_ANSWERS and all(answer == seen[-1] for answer in seen[-SAME_ANSWERS:])

    wait_until(is_settled, 30, "the ledgers settle")


def swap(platform: ServedPlatform, plan: SwapPlan) -> SwapReport:
    known = KnownAnswers.read(platform.repository, MODEL, plan.versions)
    gateway = Gateway(platform.url, platform.token)
    run = SwapRun(plan, gateway, Target(platform.url, MODEL), known, lambda line: print(line, file=sys.stderr))
    report = asyncio.run(run.run())
    print(describe(report))
    return report


def assert_unnoticed(report: SwapReport, swaps: int) -> None:
    seen = describe(report)
    assert [line.fault for line in report.swaps] == [""] * swaps, seen
    assert (report.failed, report.lost, report.not_sent) == ({}, 0, 0), seen
    assert report.wrong == 0, seen  # each answer is what the version in its header computes
    assert report.ledger_fault == "", seen
    assert {version: ledger.answered for version, ledger in report.ledger.items()} == report.by_version, seen
    assert {ledger.failed for ledger in report.ledger.values()} == {0}, seen
    assert set(report.by_version) == {"1", "2"}, seen
    assert set(report.by_engine) == {"torchserve", "tfserving"}, seen
    assert report.offered == report.answered > RATE_PER_S * swaps / 2, seen
    assert report.is_good, seen
