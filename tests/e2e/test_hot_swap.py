"""Versions change places under a steady load on real engines: no request fails, is lost, or gets a wrong answer."""

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from loadtest.admin import Gateway
from loadtest.known_answers import KnownAnswers
from loadtest.open_loop import Target
from loadtest.swap_report import SwapReport
from loadtest.swap_run import SwapPlan, SwapRun
from loadtest.swaps import describe
from tests.platform_process import Platform, running_platform

pytestmark = pytest.mark.engines

MODEL = "mnist"
RATE_PER_S = 150.0


@pytest.mark.timeout(900)
@pytest.mark.parametrize("gateway_processes", [1, 2])
def test_no_request_notices_a_swap(tmp_path: Path, repository: Path, gateway_processes: int) -> None:
    own = tmp_path / "repository"
    shutil.copytree(repository, own, symlinks=True, ignore=shutil.ignore_patterns(".torchserve"))
    environment = {"TWINSERVE_GATEWAY_PROCESSES": str(gateway_processes)}
    with running_platform(tmp_path, own, environment) as platform:
        promotes = swap(platform, SwapPlan((1, 2), RATE_PER_S, promotes=4, keep=0, seed=1))
        assert_unnoticed(promotes, swaps=4)
        with_rollbacks = swap(platform, SwapPlan((1, 2), RATE_PER_S, promotes=2, keep=0, is_rolled_back=True, seed=2))
        assert_unnoticed(with_rollbacks, swaps=4)
    assert (promotes.stale, with_rollbacks.stale) == (0, 0)  # a swap is done when every gateway process follows it
    assert [line.kind for line in with_rollbacks.swaps] == ["promote", "rollback"] * 2


def swap(platform: Platform, plan: SwapPlan) -> SwapReport:
    known = KnownAnswers.read(platform.repository, MODEL, plan.versions)
    gateway = Gateway(platform.url, (platform.home / "admin-token").read_text().strip())
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
