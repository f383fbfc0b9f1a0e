"""`make compose-chaos`: the composed platform with two gateways, broken again and again under load.

TWINSERVE_CHAOS_MINUTES is how long (default 10), TWINSERVE_CHAOS_SEED repeats the order of events,
TWINSERVE_CHAOS_REPORT names the folder for report.md and report.json. One thing is broken at a time, versions are
promoted and rolled back all along, and nobody mends what the platform should bring back by itself. Exit code 0 only
when every failure is explained by what was broken then, the ledgers add up, and all was well in time after each event.
"""

import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from loadtest.known_answers import KnownAnswers
from tests.composed.balanced_platform import BalancedPlatform, balanced_platform
from tests.composed.chaos_account import PROBE, Change, Counts, Event, Lives, Report, find_ledger_fault
from tests.composed.chaos_events import ENGINES, Breaker
from tests.composed.composed_platform import Compose, docker
from tests.composed.run import Failed, NoEngine, build, require_engine
from tests.composed.steady_clients import PATH, Asked, Load, SteadyClients
from tests.platform_process import wait_until
from tests.served_platform import LEDGER

VERSIONS = (1, 2)
LOAD = Load(http=6, rpc=3, rest_s=0.05)
WHOLE_S = 90.0
LEAD_S = 8.0
REST_S = 4.0
SAMPLE_S = 0.5
CHANGE_TIMEOUT_S = 120.0


class ComposeChaos:
    """One run against a platform that nobody else uses."""

    def __init__(self, platform: BalancedPlatform, seed: int) -> None:
        self.platform = platform
        self.seed = seed
        self.chance = random.Random(seed)
        self.known = KnownAnswers.read(platform.repository, "mnist", VERSIONS)
        self.clients = SteadyClients(platform.url, platform.grpc_address, self.known, LOAD)
        self.breaker = Breaker(platform, self.chance)
        self.lives = Lives()
        self.events: list[Event] = []
        self.changes: list[Change] = []
        self.probes: list[Asked] = []
        self._gateways = platform.gateways
        self._addresses: dict[str, tuple[str, str]] = {}
        self._stop = threading.Event()

    def run(self, seconds: float) -> Report:
        """Break things for that long, the last one to its end; returns what was seen."""
        began_at = time.monotonic()
        trouble = ""
        self._sample(is_first=True)
        try:
            with self.clients.running(), self._watched():
                self._pause(LEAD_S)
                for kind in self._deal(began_at + seconds):
                    self._do(kind, began_at)
                    self._pause(REST_S)
        except AssertionError as error:
            trouble = str(error)
        return Report(
            seed=self.seed,
            began_at=began_at,
            ended_at=time.monotonic(),
            events=self.events,
            changes=self.changes,
            asked=[*self.clients.asked, *self.probes],
            excuses=self.breaker.excuses,
            ledger_fault=self._settle_ledger(),
            trouble=trouble,
        )

    def _deal(self, until: float) -> Iterator[str]:
        """Each kind as often as the others, in random order, for as long as there is time."""
        while True:
            for kind in self.chance.sample(self.breaker.kinds, len(self.breaker.kinds)):
                if time.monotonic() >= until:
                    return
                yield kind

    def _do(self, kind: str, began_at: float) -> None:
        event = self.breaker.break_and_mend(kind)
        event.whole_at = float("inf")  # until it is known
        self.events.append(event)
        found = ""
        while found := self.find_trouble():
            if time.monotonic() > event.mended_at + WHOLE_S:
                raise AssertionError(f"{WHOLE_S:g} s after {event.what} of {event.target}: {found}")
            self._pause(0.25)
        event.whole_at = time.monotonic()
        when = f"{event.began_at - began_at:6.1f} s"
        say(f"{when} {event.what} of {event.target}: well after {event.recovery_s:.1f} s {event.note}")

    def find_trouble(self) -> str:
        """What is not well; "" when every gateway is ready and sees both engines, and each answers who names it."""
        try:
            for gateway in self.platform.gateways:
                address = self.platform.address(gateway)
                if requests.get(f"{address}/v2/health/ready", timeout=5).status_code != 200:
                    return f"gateway {gateway[:12]} is not ready"
                if (seen := self.platform.sees(gateway)) != dict.fromkeys(ENGINES, 1.0):
                    return f"gateway {gateway[:12]} sees {seen}"
            return next(filter(None, (self._probe(engine) for engine in ENGINES for _ in range(2))), "")
        except (requests.RequestException, AssertionError, KeyError) as error:
            return f"{type(error).__name__}: {error}"

    def _probe(self, engine: str) -> str:
        case, sent_at, status, fault = self.known.cases[0], time.monotonic(), "", ""
        try:
            headers = {**case.headers, "X-Engine": engine}
            answer = requests.post(self.platform.url + PATH, data=case.body, headers=headers, timeout=30)
            status = str(answer.status_code)
            fault = "" if status == "200" else answer.text[:100]
        except requests.RequestException as error:
            fault = str(error)
        self.probes.append(Asked(PROBE, sent_at, time.monotonic(), status, engine, fault=fault))
        return f"{engine}: {status} {fault}" if fault else ""

    # -- what goes on beside it

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Versions change, and ledgers are read, for as long as the block runs."""
        problems: list[BaseException] = []

        def run(task: Callable[[], None]) -> None:
            try:
                task()
            except BaseException as error:  # noqa: BLE001 - told to the thread that waits below
                problems.append(error)

        threads = [threading.Thread(target=run, args=(task,)) for task in (self._keep_changing, self._keep_sampling)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(CHANGE_TIMEOUT_S + 30)
        assert problems == [], problems

    def _keep_changing(self) -> None:
        number = 0
        while not self._stop.wait(REST_S):
            number += 1
            self.changes.append(self._change("rollback" if number % 3 == 0 else "promote"))

    def _change(self, kind: str) -> Change:
        began_at, version = time.monotonic(), 0
        try:
            version = 3 - int(self.platform.state()["models"][0]["live"])
            body = {"version": version, "keep": 1} if kind == "promote" else {"keep": 1}
            answer = requests.post(
                f"{self.platform.url}/admin/models/mnist/{kind}?wait=true",
                json=body,
                headers={"Authorization": f"Bearer {self.platform.token}"},
                timeout=CHANGE_TIMEOUT_S,
            )
            is_done = answer.status_code == 200 and answer.json().get("state") == "done"
            fault = "" if is_done else f"{answer.status_code} {answer.text[:200]}"
        except (requests.RequestException, KeyError, IndexError, ValueError) as error:
            fault = f"{type(error).__name__}: {error}"[:200]
        return Change(kind, version, began_at, time.monotonic(), fault)

    def _keep_sampling(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self._sample()

    def _sample(self, is_first: bool = False) -> None:
        for gateway in self._gateways:
            at = time.monotonic()
            try:
                address, life = self._addresses.get(gateway) or self._look_up(gateway)
                text = requests.get(f"{address}/metrics", timeout=2).text
            except (requests.RequestException, AssertionError, KeyError):
                self._addresses.pop(gateway, None)  # it may come back elsewhere, and begins to count anew
                continue
            counts = Counts(*(int(self.platform.metric(text, f"twinserve_ledger_{kind}_total")) for kind in LEDGER))
            (self.lives.begin if is_first else self.lives.note)(gateway, life, counts, at)

    def _look_up(self, gateway: str) -> tuple[str, str]:
        life = docker("inspect", "-f", "{{.State.StartedAt}}", gateway)
        self._addresses[gateway] = (self.platform.address(gateway), life)
        return self._addresses[gateway]

    def _settle_ledger(self) -> str:
        """The ledgers and the clients' account once nobody asks any more; the last answers may be entered late."""
        asked = [*self.clients.asked, *self.probes]
        clients = LOAD.http + LOAD.rpc + 1
        deadline = time.monotonic() + 15
        while True:
            self._sample()
            fault = find_ledger_fault(self.lives, asked, clients)
            if not fault or time.monotonic() > deadline:
                return fault
            threading.Event().wait(0.5)

    def _pause(self, seconds: float) -> None:
        threading.Event().wait(seconds)


def run_chaos(platform: BalancedPlatform, seconds: float, seed: int) -> Report:
    """Run it, say what was seen, and check that the platform ends with nothing half done."""
    say(f"seed {seed}, {seconds:g} s")
    report = ComposeChaos(platform, seed).run(seconds)
    wait_until(lambda: platform.state()["models"][0]["candidate"] is None, WHOLE_S, "no promote is left half done")
    return report


def write(report: Report, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(report.to_markdown())
    (folder / "report.json").write_text(json.dumps(report.to_document(), indent=2) + "\n")
    print(report.to_markdown(), flush=True)
    say(f"{folder}/report.md, report.json")


def main() -> int:
    """Build what is missing, run, and clear away; returns the exit code."""
    minutes = float(os.environ.get("TWINSERVE_CHAOS_MINUTES", "10"))
    seed = int(os.environ.get("TWINSERVE_CHAOS_SEED", str(random.SystemRandom().randrange(10_000))))
    folder = Path(os.environ.get("TWINSERVE_CHAOS_REPORT", ".twinserve/compose-chaos"))
    try:
        build(Compose(require_engine()))
    except NoEngine as error:
        say(f"SKIPPED: {error}")
        return 0
    except Failed as error:
        say(f"FAILED: {error}")
        return 1
    with tempfile.TemporaryDirectory(prefix="twinserve-chaos-") as own, balanced_platform(Path(own)) as platform:
        report = run_chaos(platform, 60 * minutes, seed)
        write(report, folder)
    return 1 if report.faults else 0


def say(line: str) -> None:
    """A line of progress."""
    print(f"compose-chaos: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
