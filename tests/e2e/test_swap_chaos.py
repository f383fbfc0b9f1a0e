"""kill -9 at random moments of a swap: all is whole again without a hand, and no client is told anything wrong.

TWINSERVE_CHAOS_SWAPS is how many swaps are cut short, TWINSERVE_CHAOS_SEED makes a run repeatable.
"""

import http.client
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from contracts.integrity import find_damage
from contracts.layout import GATEWAYS, ModelPaths
from contracts.live import Rollout, read_live, read_rollouts
from contracts.oip_bodies import HEADER_LENGTH
from loadtest.known_answers import KnownAnswers
from tests.platform_process import Platform, is_alive, running_platform, wait_until

pytestmark = [pytest.mark.engines, pytest.mark.only_on("up", "it kills processes of this machine at chosen moments")]

SWAPS = int(os.environ.get("TWINSERVE_CHAOS_SWAPS", "5"))
SEED = int(os.environ.get("TWINSERVE_CHAOS_SEED", "7"))
WHOLE_S = 60.0
ROLLOUT_S = 240.0
PATH = "/v2/models/mnist/infer"
VERSIONS = (1, 2)
ENGINES = ("torchserve", "tfserving")
PHASES = ("load", "warm", "compare", "flip", "drain", "unload")
CONNECTIONS = 6
PAUSE_S = 0.1


@dataclass(frozen=True)
class Asked:
    """One request: times on the monotonic clock, the client's port, status 0 when its connection broke."""

    sent_at: float
    ended_at: float
    port: int
    status: int
    fault: str


@dataclass
class Excuses:
    """Which broken connections were to be expected: in a time, or from a port, by what was killed."""

    times: list[tuple[float, float]] = field(default_factory=list)
    ports: set[int] = field(default_factory=set)

    def covers(self, asked: Asked) -> bool:
        in_time = any(asked.sent_at <= end and asked.ended_at >= start for start, end in self.times)
        return asked.status == 0 and (in_time or asked.port in self.ports)


@dataclass(frozen=True)
class Cut:
    """A swap that was cut short: when the victim died, and how the promote goes on."""

    killed_at: float
    moment: str
    command: "subprocess.Popen[str]"
    rollout: str
    version: int


class Chaos:
    """One platform, its clients' requests, and what is done to it."""

    def __init__(self, platform: Platform, seed: int, processes: int) -> None:
        self.platform = platform
        self.processes = processes
        self.chance = random.Random(seed)
        self.paths = ModelPaths(platform.repository, "mnist")
        self.known = KnownAnswers.read(platform.repository, "mnist", VERSIONS)
        self.asked: list[Asked] = []
        self.excuses = Excuses()
        self.killed: set[int] = set()
        self.swap_s = 0.0
        self.slowest: tuple[float, str] = (0.0, "")
        self.last_end: tuple[float, str] = (0.0, "")
        self.ends: Counter[tuple[str, str]] = Counter()

    # -- the clients

    @contextmanager
    def traffic(self) -> Iterator[None]:
        """Unforced requests over kept connections, each answer compared with what its version is known to answer."""
        stop = threading.Event()
        problems: list[BaseException] = []

        def run(case: int) -> None:
            try:
                self._ask_until(stop, case)
            except BaseException as error:  # noqa: BLE001 - told to the test's own thread below
                problems.append(error)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(90)
            assert problems == []

    def _ask_until(self, stop: threading.Event, case: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.platform.ports.http, timeout=60)
        while not stop.wait(PAUSE_S):
            case = (case + 1) % len(self.known.cases)
            sent_at, port, status = time.monotonic(), 0, 0
            try:
                if connection.sock is None:
                    connection.connect()
                port = connection.sock.getsockname()[1]
                status, fault = self._ask(connection, case)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                fault = f"{type(error).__name__}: {error}"
            self.asked.append(Asked(sent_at, time.monotonic(), port, status, fault))
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, case: int) -> tuple[int, str]:
        connection.request("POST", PATH, self.known.cases[case].body, dict(self.known.cases[case].headers))
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            return response.status, content[:200].decode(errors="replace")
        fault = self.known.find_fault(
            case, response.headers["X-Model-Version"], content, response.headers[HEADER_LENGTH]
        )
        return 200, fault

    # -- a swap cut short

    def swap_undisturbed(self) -> None:
        """How long a swap takes here; every kill is aimed at a moment of that."""
        self.promote()  # at once: `up` leaves the version before loaded
        self.promote()
        last = self.rollouts[-1]
        assert last.ended_at is not None
        self.swap_s = last.ended_at - last.started_at

    def promote(self) -> None:
        """To the version that is not live, to the end."""
        target = self.other()
        ended = self.platform.run("promote", "mnist", str(target), "--keep", "0")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert read_live(self.paths).live == target

    def cut_short(self, victim: str) -> Cut:
        """Begin to promote by the command, and kill -9 the victim at some moment of it."""
        target, before, workers = self.other(), {known.id for known in self.rollouts}, set(self.workers())
        command = subprocess.Popen(
            [sys.executable, "-m", "twinserve", "promote", "mnist", str(target), "--keep", "0"],
            env={**os.environ, **self.platform.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        watch(lambda: self.rollouts[-1].id not in before or command.poll() is not None, 60, "the promote begins")
        begun = self.rollouts[-1]
        assert begun.id not in before, command.communicate()
        if victim == "worker":
            seen: set[int] = set()

            def is_loading() -> bool:
                seen.update(set(self.workers()) - workers)
                return bool(seen) or not self.is_running(begun.id)

            watch(is_loading, 60, "a worker loads it")
            moment = self._let_pass(self.swap_s / 2)
            [pid] = seen
        else:
            moment = self._wait_for_a_moment(begun.id)
            pid = command.pid if victim == "command" else self.pid(victim, begun.owner)
        return Cut(self.kill(pid, victim), moment, command, begun.id, target)

    def _let_pass(self, longest_s: float) -> str:
        delay_s = self.chance.uniform(0, longest_s)
        threading.Event().wait(delay_s)
        return f"after {delay_s:.2f} s"

    def _wait_for_a_moment(self, rollout: str) -> str:
        """Any moment of the swap; half of the time the beginning of a phase, for some phases are very short."""
        if self.chance.random() < 0.5:
            return self._let_pass(self.swap_s)
        wanted = self.chance.choice(PHASES)

        def has_come() -> bool:
            now = self.rollout(rollout)
            return now.state != "running" or (now.phase in PHASES and PHASES.index(now.phase) >= PHASES.index(wanted))

        watch(has_come, ROLLOUT_S, f"phase {wanted}")
        return f"at {wanted}"

    def kill(self, pid: int, victim: str) -> float:
        """kill -9, and note whose connections it breaks; returns when."""
        process = psutil.Process(pid)
        if victim in ("owner", "other"):
            process.suspend()  # so that the list of its connections is still true when it dies
            held = [c for c in process.net_connections("tcp") if c.status == psutil.CONN_ESTABLISHED]
            mine = [connection for connection in held if connection.laddr.port == self.platform.ports.http]
            self.excuses.ports |= {connection.raddr.port for connection in mine}
        os.kill(pid, signal.SIGKILL)
        killed_at = time.monotonic()
        self.killed.add(pid)
        if victim == "gateway":
            wait_until(lambda: not is_alive(process), 10, "the gateway's end")
            wait_until(lambda: self.get("/v2/health/live") is not None, WHOLE_S, "a gateway listens again")
            self.excuses.times.append((killed_at, time.monotonic()))
        elif victim != "command":
            wait_until(lambda: not is_alive(process), 10, "its end")
        return killed_at

    def pid(self, victim: str, owner: str) -> int:
        """The process to kill. `owner` and `other` are gateway processes: who runs the rollout, and who does not."""
        if victim not in ("owner", "other"):
            return self.platform.pid(victim)
        names = sorted(path.stem for path in (self.platform.repository / GATEWAYS).glob("*.json"))
        [name] = [name for name in names if (name == owner) == (victim == "owner")]
        return int(name.rsplit("-", 2)[1])

    # -- afterwards

    def recover(self, victim: str, cut: Cut) -> str:
        """Wait until all is whole, the rollout has ended and a promote works; returns what happened, as a line."""
        settle(self.find_trouble, cut.killed_at + WHOLE_S)
        whole_s = time.monotonic() - cut.killed_at
        self.slowest = max(self.slowest, (whole_s, victim))
        wait_until(lambda: not self.is_running(cut.rollout), ROLLOUT_S, "the end of the rollout")
        ended_s = time.monotonic() - cut.killed_at
        self.last_end = max(self.last_end, (ended_s, victim))
        settle(lambda: self.find_trouble() or self.find_residue(), time.monotonic() + WHOLE_S)
        said, code = cut.command.communicate(timeout=90)[0], cut.command.returncode
        ended = self.rollout(cut.rollout)
        live = read_live(self.paths).live
        assert (live == cut.version) == (ended.state == "done"), (live, ended)
        if code != -signal.SIGKILL:
            is_deaf = victim in ("gateway", "owner", "other")  # it may have been told by the one that died
            assert (code == 0) == (ended.state == "done") or (is_deaf and code == 1), (said, ended)
        self.ends[victim, ended.state] += 1
        self.promote()
        settle(lambda: self.find_trouble() or self.find_residue(), time.monotonic() + WHOLE_S)
        return (
            f"{victim} {cut.moment}: whole in {whole_s:.1f} s, rollout {ended.state} in {ended_s:.1f} s {ended.reason}"
        )

    def find_trouble(self) -> str:
        """What is not whole; "" when the repository is sound and each engine answers rightly with the live version."""
        state = self.get("/admin/models")
        if state is None or not state["ready"] or not all(engine["up"] for engine in state["engines"]):
            return f"not ready: {state}"
        gateways = {int(name.rsplit("-", 2)[1]) for name in state["gateways"]}
        children = {self.platform.pid(name) for name in ("gateway", *ENGINES)}
        if len(gateways) != self.processes or (gateways | children) & self.killed:
            return f"gateways {gateways}, children {children}, killed were {self.killed}"
        live, rollouts = read_live(self.paths), self.rollouts
        owned = {r.id for r in rollouts if r.state == "running" and r.owner in state["gateways"]}
        if live.candidate is not None and live.candidate.rollout not in owned:
            return f"an orphan candidate: {live.candidate}"
        if orphans := [known for known in rollouts if known.state == "running" and known.id not in owned]:
            return f"records of the dead: {orphans}"
        for version in VERSIONS:
            if damage := find_damage(self.paths.version(version)):
                return f"version {version}: {damage}"
        for engine in ENGINES:
            if fault := self._ask_engine(engine, live.live):
                return f"{engine}: {fault}"
        return ""

    def _ask_engine(self, engine: str, live: int) -> str:
        case = self.known.cases[0]
        headers = {**case.headers, "X-Engine": engine}
        try:
            answer = requests.post(self.platform.url + PATH, data=case.body, headers=headers, timeout=10)
        except requests.RequestException as error:
            return str(error)
        if answer.status_code != 200:
            return answer.text
        version = answer.headers["X-Model-Version"]
        if version != str(live):
            return f"answers with version {version}, live is {live}"
        return self.known.find_fault(0, version, answer.content, answer.headers[HEADER_LENGTH])

    def find_residue(self) -> str:
        """What is left of a swap that has ended: versions in an engine's memory, files in the repository."""
        live = read_live(self.paths)
        if live.candidate is not None:
            return f"a candidate: {live.candidate}"
        if len(self.workers()) != 1:
            return f"TorchServe has workers {self.workers()}"
        url = f"http://127.0.0.1:{self.platform.ports.tfserving_rest}/v1/models/mnist"
        told = requests.get(url, timeout=10).json()["model_version_status"]
        if (held := [entry["version"] for entry in told if entry["state"] != "END"]) != [str(live.live)]:
            return f"TF Serving holds {held}"
        names = {path.name for path in self.paths.root.iterdir()}
        if extra := names - {"1", "2", "live.json", "rollouts.json", ".change.lock", ".publishing.lock"}:
            return f"files {extra}"
        lives = {path.stem for path in (self.platform.repository / GATEWAYS).glob("*.*")}
        if len(lives) != self.processes:
            return f"gateway processes {lives}"
        return ""

    # -- looking

    @property
    def rollouts(self) -> tuple[Rollout, ...]:
        return read_rollouts(self.paths)

    def rollout(self, rollout: str) -> Rollout:
        [found] = [known for known in self.rollouts if known.id == rollout]
        return found

    def is_running(self, rollout: str) -> bool:
        return self.rollout(rollout).state == "running"

    def other(self) -> int:
        [version] = set(VERSIONS) - {read_live(self.paths).live}
        return version

    def workers(self) -> list[int]:
        """TorchServe's Python workers, forked by its fork server: one a version that it holds."""
        try:
            family = psutil.Process(self.platform.pid("torchserve")).children(recursive=True)
            return [process.pid for process in family if process.name() == "ts-worker"]
        except psutil.Error:
            return []

    def get(self, path: str) -> Mapping[str, Any] | None:
        """What the gateway answers; None when it does not."""
        token = (self.platform.home / "admin-token").read_text().strip()
        try:
            answer = requests.get(self.platform.url + path, headers={"Authorization": f"Bearer {token}"}, timeout=10)
            return dict(answer.json()) if answer.status_code == 200 else None
        except requests.RequestException:
            return None


@pytest.mark.parametrize(
    ("processes", "victims", "swaps"),
    [
        (1, ("command", "gateway", "torchserve", "tfserving", "worker"), SWAPS),
        (2, ("owner", "other"), max(SWAPS // 3, 2)),
    ],
)
@pytest.mark.timeout(600 + 240 * SWAPS)
def test_a_swap_cut_short(
    tmp_path: Path, repository: Path, processes: int, victims: tuple[str, ...], swaps: int
) -> None:
    own = tmp_path / "repository"
    shutil.copytree(repository, own, symlinks=True, ignore=shutil.ignore_patterns(".torchserve", GATEWAYS))
    print(f"\nseed {SEED}")
    with running_platform(tmp_path, own, {"TWINSERVE_GATEWAY_PROCESSES": str(processes)}) as platform:
        chaos = Chaos(platform, SEED, processes)
        with chaos.traffic():
            chaos.swap_undisturbed()
            for number, victim in enumerate(deal(chaos.chance, victims, swaps)):
                print(f"{number + 1}/{swaps} {chaos.recover(victim, chaos.cut_short(victim))}", flush=True)
        wait_until(lambda: is_balanced(chaos), 15, "accepted = answered + failed")
    broken = [asked for asked in chaos.asked if asked.status == 0]
    bad = [asked for asked in chaos.asked if (asked.fault or asked.status != 200) and not chaos.excuses.covers(asked)]
    (slowest_s, of), (ended_s, ended_of) = chaos.slowest, chaos.last_end
    print(
        f"{chaos.ends.total()} swaps of {chaos.swap_s:.1f} s cut short: {dict(chaos.ends)}; "
        f"whole in {slowest_s:.1f} s at most ({of}), the rollout ended in {ended_s:.1f} s at most ({ended_of})"
    )
    print(f"{len(chaos.asked)} requests, {len(broken)} connections broken by the kills, {len(bad)} failures")
    assert bad == []
    assert {victim for victim, _ in chaos.ends} == set(victims)


def deal(chance: random.Random, victims: tuple[str, ...], count: int) -> list[str]:
    """Each victim as often as the others, in random order."""
    dealt: list[str] = []
    while len(dealt) < count:
        dealt += chance.sample(victims, len(victims))
    return dealt[: max(count, len(victims))]


def watch(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """As wait_until, but often enough for a phase of milliseconds."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        pause.wait(0.003)


def settle(find: Callable[[], str], deadline: float) -> None:
    """Wait until there is nothing to find; fail with what was found last."""
    pause = threading.Event()
    while found := find():
        assert time.monotonic() < deadline, f"still after {WHOLE_S:g} s: {found}"
        pause.wait(0.1)


def is_balanced(chaos: Chaos) -> bool:
    """The ledger of the gateway processes that live."""
    state = chaos.get("/admin/models/mnist")
    if state is None:
        return False
    ledgers = [version["ledger"] for version in state["versions"]]
    return sum(counted["accepted"] for counted in ledgers) > 0 and all(
        counted["accepted"] == counted["answered"] + counted["failed"] for counted in ledgers
    )
