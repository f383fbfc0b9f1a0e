"""Hostile input against real engines: nothing dies, nothing grows, everything is explained."""

import asyncio
import os

import psutil
import pytest

from tests.fuzzing import send_all
from tests.platform_process import Platform, running_platform
from tests.traffic import send_until
from workers.mnist import Split

pytestmark = [pytest.mark.engines, pytest.mark.only_on("up", "it watches the memory of processes of this machine")]

SEED = int(os.environ.get("TWINSERVE_FUZZ_SEED", "1"))
REQUESTS = int(os.environ.get("TWINSERVE_FUZZ_REQUESTS", "3000"))


@pytest.mark.timeout(3600)
def test_hostile_requests(tmp_path_factory: pytest.TempPathFactory, platform: Platform, mnist_test: Split) -> None:
    with running_platform(tmp_path_factory.mktemp("fuzz"), platform.repository) as fuzzed:
        # Memory is compared once allocators have grown to what plain traffic and some of the hostile kind need.
        asyncio.run(send_until(fuzzed.url, mnist_test.images[:1], lambda tally: tally.total >= 2000, 8))
        asyncio.run(send_all(fuzzed.url, SEED + 1, max(500, REQUESTS // 10)))
        processes = {name: psutil.Process(fuzzed.pid(name)) for name in ("torchserve", "tfserving", "gateway")}
        workers = processes["torchserve"].children(recursive=True)
        before = {name: resident_mb(process) for name, process in processes.items()}

        outcome = asyncio.run(send_all(fuzzed.url, SEED, REQUESTS))

        after = {name: resident_mb(process) for name, process in processes.items()}
        print(f"{REQUESTS} hostile requests, seed {SEED}: {dict(sorted(outcome.statuses.items()))}")
        print(f"resident before {before}, after {after}")
        assert outcome.unexplained == []
        assert outcome.statuses[200] > 0, "some damage is harmless"
        assert sum(outcome.statuses[s] for s in (400, 404, 415)) > REQUESTS / 3
        assert all(process.is_running() for process in (*processes.values(), *workers)), "nobody died"
        assert {name: fuzzed.pid(name) for name in processes} == {name: p.pid for name, p in processes.items()}
        assert {name for name in before if after[name] > before[name] * 1.1 + 10} == set()
        tally = asyncio.run(send_until(fuzzed.url, mnist_test.images[:1], lambda tally: tally.total >= 200, 8))
        assert set(tally.statuses) == {200}


def resident_mb(process: psutil.Process) -> int:
    return round(process.memory_info().rss / 1e6)
