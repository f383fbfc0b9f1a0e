"""`python -m loadtest.swaps` as its user runs it."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from tests.unit.loadtest.fake_gateway import TOKEN, FakeGateway, Faults, fake_gateway, golden, nth, publish

QUICK = ("--rate", "200", "--promotes", "2", "--lead-s", "0.1", "--gap-s", "0.05")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for version in (1, 2):
        publish(tmp_path, version, golden(version))
    return tmp_path


async def start(gateway: FakeGateway, repository: Path, *arguments: str, token: str | None = TOKEN) -> Process:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TWINSERVE_")}
    environment |= {"TWINSERVE_HOME": str(repository / "home"), "TWINSERVE_REPOSITORY": str(repository)}
    if token is not None:
        environment["TWINSERVE_ADMIN_TOKEN"] = token
    command = (sys.executable, "-m", "loadtest.swaps", "--url", gateway.url, *arguments)
    return await asyncio.create_subprocess_exec(*command, env=environment, stdout=PIPE, stderr=PIPE)


async def run(gateway: FakeGateway, repository: Path, *arguments: str) -> tuple[int | None, str, str]:
    process = await start(gateway, repository, *QUICK, *arguments)
    out, said = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), said.decode()


async def test_a_good_run_ends_with_0(repository: Path) -> None:
    async with fake_gateway() as gateway:
        code, out, said = await run(gateway, repository, "--json", "--rollback-after-each")
    assert code == 0, said
    report = json.loads(out)
    assert report["is_good"] is True
    assert report["offered"] == report["answered"] == gateway.received
    assert [swap["kind"] for swap in report["swaps"]] == ["promote", "rollback"] * 2
    assert "4/4 rollback 1 to 2: done" in said


@pytest.mark.parametrize("faults", [Faults(is_lost=nth(4)), Faults(is_corrupted=nth(4)), Faults(is_refused=nth(4))])
async def test_one_bad_answer_ends_with_1(repository: Path, faults: Faults) -> None:
    async with fake_gateway(faults) as gateway:
        code, out, _ = await run(gateway, repository)
    assert code == 1
    assert out.endswith("not good\n")
    assert "fault     1 x" in out


async def test_the_report_reads_like_a_table(repository: Path) -> None:
    async with fake_gateway() as gateway:
        code, out, _ = await run(gateway, repository, "--engine", "torchserve")
    assert code == 0
    assert f"{gateway.received} offered, {gateway.received} answered, 0 failed, 0 lost, 0 not sent, 0 wrong" in out
    assert "ledger    agrees" in out
    assert f"torchserve {gateway.received};" in out
    assert out.endswith("good\n")


async def test_ctrl_c_reports_what_there_is(repository: Path) -> None:
    async with fake_gateway() as gateway:
        process = await start(gateway, repository, *QUICK, "--promotes", "100000", "--json")
        assert process.stderr
        async with asyncio.timeout(60):
            async for line in process.stderr:
                if line.startswith(b"3/100000"):
                    break
            process.send_signal(signal.SIGINT)
            out, _ = await process.communicate()
    assert process.returncode == 130
    report = json.loads(out)
    assert (report["is_interrupted"], report["is_good"]) == (True, False)
    assert len(report["swaps"]) >= 3
    assert report["offered"] == report["answered"] > 0


@pytest.mark.long
async def test_without_versions_or_a_token_it_says_so(repository: Path, tmp_path: Path) -> None:
    async with fake_gateway() as gateway:
        code, _, said = await run(gateway, repository, "--model", "other")
        assert (code, "needs two versions of other" in said) == (1, True)
        process = await start(gateway, repository, *QUICK, token=None)
        _, complaint = await asyncio.wait_for(process.communicate(), 60)
        assert (process.returncode, b"admin-token" in complaint) == (1, True)
        token_file = tmp_path / "token"
        token_file.write_text(TOKEN + "\n")
        process = await start(gateway, repository, *QUICK, "--token-file", str(token_file), token="guessed")
        await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0
