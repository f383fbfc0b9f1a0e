"""Two TorchServe servers behind two gateway processes: even shares, one killed and back again, versions that change.

TWINSERVE_ENDPOINT_PROMOTES is how many versions change places under load.
"""

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from contracts.addresses import Ports
from contracts.layout import TORCHSERVE_STORE
from loadtest.admin import Gateway
from loadtest.arrivals import poisson_arrivals
from loadtest.known_answers import KnownAnswers
from loadtest.open_loop import Fate, OpenLoop, Target
from loadtest.swap_run import SwapPlan, SwapRun
from loadtest.swaps import describe
from tests.platform_process import free_ports, kill_with_family, wait_until
from tests.watched_process import WatchedProcess, watched

pytestmark = [pytest.mark.engines, pytest.mark.only_on("up", "it starts servers of its own")]

PROMOTES = int(os.environ.get("TWINSERVE_ENDPOINT_PROMOTES", "6"))
TOKEN = "an-operators-token"
RATE_PER_S = 120.0
START_S = 120.0
NAMES = ("a", "b")


@dataclass
class Pair:
    """The platform. `servers` are the two of TorchServe, by name."""

    ports: Ports
    of: dict[str, Ports]
    folder: Path
    repository: Path
    servers: dict[str, WatchedProcess]
    closing: ExitStack

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.http}"

    def endpoint(self, name: str) -> str:
        return f"torchserve/127.0.0.1:{self.of[name].torchserve_inference}"

    def environment(self, ports: Ports) -> dict[str, str]:
        endpoints = ",".join(
            f"127.0.0.1:{one.torchserve_inference}/{one.torchserve_management}/{one.torchserve_metrics}"
            for one in self.of.values()
        )
        return {
            **os.environ,
            **ports.to_environment(),
            "TWINSERVE_REPOSITORY": str(self.repository),
            "TWINSERVE_ADMIN_TOKEN": TOKEN,
            "TWINSERVE_GATEWAY_PROCESSES": "2",
            "TWINSERVE_TFSERVING_IMPLEMENTATION": "embedded",
            "TWINSERVE_TORCHSERVE_ENDPOINTS": endpoints,
            "TWINSERVE_TORCHSERVE_KEY_FILE": str(self.folder / "keys"),
            "TWINSERVE_ENDPOINT_SLOW_START_S": "2",
        }

    def start(self, module: str, ports: Ports, *arguments: str) -> WatchedProcess:
        command = [sys.executable, "-m", module, *arguments]
        return self.closing.enter_context(watched(command, self.environment(ports)))

    def start_torchserve(self, name: str) -> None:
        store = str(self.repository / TORCHSERVE_STORE)
        run_dir = str(self.folder / "keys" / name)
        arguments = ("--run-dir", run_dir, "--model-store", store)
        self.servers[name] = self.start("workers.torch.launcher", self.of[name], *arguments)

    def state(self) -> dict[str, Any]:
        answer = requests.get(f"{self.url}/admin/models", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10)
        return dict(answer.json())

    def up(self) -> dict[str, bool]:
        """Whether each server of TorchServe takes part, as the gateway process that answers sees it."""
        [engine] = [known for known in self.state()["engines"] if known["engine"] == "torchserve"]
        return {known["endpoint"]: known["up"] for known in engine["endpoints"]}

    def asked(self) -> dict[str, float]:
        """How many requests each endpoint was sent, by all gateway processes together."""
        text = requests.get(f"{self.url}/metrics", timeout=10).text
        found = re.findall(r'^twinserve_endpoint_requests_total\{endpoint="([^"]+)".*\} (\S+)$', text, re.MULTILINE)
        return {endpoint: float(value) for endpoint, value in found}

    def asked_since(self, before: dict[str, float]) -> dict[str, float]:
        now = self.asked()
        return {name: now[self.endpoint(name)] - before[self.endpoint(name)] for name in NAMES}


@contextmanager
def running_pair(folder: Path, repository: Path) -> Iterator[Pair]:
    own = folder / "repository"
    shutil.copytree(repository, own, symlinks=True, ignore=shutil.ignore_patterns(".torchserve", ".gateways"))
    (own / TORCHSERVE_STORE).mkdir()
    with ExitStack() as closing:
        pair = Pair(free_ports(), {name: free_ports() for name in NAMES}, folder, own, {}, closing)
        pair.start("workers.tf.launcher", pair.ports, "--run-dir", str(folder / "tf"), "--implementation", "embedded")
        for name in NAMES:
            pair.start_torchserve(name)
        pair.start("gateway", pair.ports)
        wait_until(lambda: is_ready(pair), START_S, "the gateway is ready")
        wait_until(lambda: seen_by_all(pair, lambda: all(pair.up().values())), START_S, "both servers take part")
        yield pair


def is_ready(pair: Pair) -> bool:
    try:
        return requests.get(f"{pair.url}/v2/health/ready", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def seen_by_all(pair: Pair, condition: Callable[[], bool]) -> bool:
    """Each question may be answered by another gateway process: they must agree many times in a row."""
    return all(condition() for _ in range(20))


async def load(pair: Pair, seconds: float, disturb: Callable[[], None] = lambda: None) -> OpenLoop:
    """Ask for so long; a third of the way `disturb` is called in a thread. Everybody is answered rightly."""
    loop = OpenLoop(Target(pair.url, "mnist"), KnownAnswers.read(pair.repository, "mnist", (1, 2)), "endpoints")
    arrivals = poisson_arrivals(RATE_PER_S, 7, seconds)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(loop.run(arrivals, asyncio.Event()))
        tasks.create_task(disturb_after(seconds / 3, disturb))
    faults = [outcome for outcome in loop.outcomes if outcome.fate is not Fate.ANSWERED or outcome.fault]
    assert faults == []
    return loop


async def disturb_after(delay_s: float, disturb: Callable[[], None]) -> None:
    await asyncio.sleep(delay_s)  # the load needs time; nothing is waited for here
    await asyncio.to_thread(disturb)


@pytest.mark.timeout(900)
def test_two_servers_of_one_engine(tmp_path: Path, repository: Path) -> None:
    """One test: to start two of the real TorchServe takes as long as all that is done with them."""
    with running_pair(tmp_path, repository) as pair:
        assert_even(pair)
        assert_nobody_notices_a_kill(pair)
        assert_even(pair)
        assert_nobody_notices_a_promote(pair)


def assert_even(pair: Pair) -> None:
    before = pair.asked()
    asyncio.run(load(pair, 10))
    counted = pair.asked_since(before)
    print("asked:", counted)
    even = sum(counted.values()) / len(NAMES)
    assert even > 100
    assert max(abs(requests - even) for requests in counted.values()) <= 0.1 * even, counted


def assert_nobody_notices_a_kill(pair: Pair) -> None:
    victim = pair.servers["a"].process
    before = pair.asked()
    ran = asyncio.run(load(pair, 9, lambda: ignore(kill_with_family(victim))))
    print("killed under load:", ran.counts, pair.asked_since(before))
    assert victim.wait(10) != 0
    wait_until(lambda: seen_by_all(pair, lambda: not pair.up()[pair.endpoint("a")]), 30, "it is left out")
    assert pair.up()[pair.endpoint("b")]
    before = pair.asked()
    asyncio.run(load(pair, 2))
    alone = pair.asked_since(before)
    assert alone["a"] == 0 < alone["b"], "its sibling has its share, and it gets nothing"
    pair.start_torchserve("a")
    before = pair.asked()
    returning = asyncio.run(load(pair, 15))
    wait_until(lambda: seen_by_all(pair, lambda: all(pair.up().values())), START_S, "it is back")
    print("started again under load:", returning.counts, pair.asked_since(before))
    asyncio.run(load(pair, 3))  # its share has grown


def ignore(_: object) -> None:
    pass


def wait_settled(pair: Pair) -> None:
    """Until every gateway process has heard what the others have counted: whichever is asked says the same."""
    seen: list[object] = []

    def is_settled() -> bool:
        seen.append(pair.state()["models"])
        return len(seen) > 40 and all(answer == seen[-1] for answer in seen[-40:])

    wait_until(is_settled, 30, "the ledgers settle")


def assert_nobody_notices_a_promote(pair: Pair) -> None:
    known = KnownAnswers.read(pair.repository, "mnist", (1, 2))
    plan = SwapPlan((1, 2), RATE_PER_S, promotes=PROMOTES, keep=0, seed=1)
    target = Target(pair.url, "mnist")
    wait_settled(pair)
    before = pair.asked()
    report = asyncio.run(SwapRun(plan, Gateway(pair.url, TOKEN), target, known, print).run())
    print(describe(report), "asked:", pair.asked_since(before))
    assert report.is_good
    assert report.stale == 0
    assert (report.failed, report.lost, report.not_sent, report.wrong) == ({}, 0, 0, 0)
    assert [line.fault for line in report.swaps] == [""] * PROMOTES
    held = {name: versions_on(pair, name) for name in NAMES}
    live = next(model["live"] for model in pair.state()["models"])
    assert held == {name: [live] for name in NAMES}, "what is not live is unloaded on both"


def versions_on(pair: Pair, name: str) -> list[int]:
    """What TorchServe itself says that it holds."""
    keys = json.loads((pair.folder / "keys" / name / "key_file.json").read_text())
    url = f"http://127.0.0.1:{pair.of[name].torchserve_management}/models/mnist/all"
    answer = requests.get(url, headers={"Authorization": f"Bearer {keys['management']['key']}"}, timeout=10)
    return sorted(int(known["modelVersion"]) for known in answer.json())
