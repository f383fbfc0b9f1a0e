"""Two gateways behind the balancer: what operators do to them under load, and chaos. Nobody's request fails.

TWINSERVE_BALANCED_PROMOTES is how many promotes (default 4), TWINSERVE_CHAOS_MINUTES how long the chaos lasts.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from loadtest.known_answers import KnownAnswers
from tests.composed.balanced_platform import BalancedPlatform, balanced_platform
from tests.composed.chaos import run_chaos, write
from tests.composed.composed_platform import docker
from tests.composed.steady_clients import Load, SteadyClients
from tests.platform_process import wait_until
from tests.served_platform import LEDGER

pytestmark = [pytest.mark.engines, pytest.mark.only_on("compose", "gateways in containers, behind HAProxy")]

PROMOTES = int(os.environ.get("TWINSERVE_BALANCED_PROMOTES", "4"))
CHAOS_S = 60 * float(os.environ.get("TWINSERVE_CHAOS_MINUTES", "2"))
SEED = int(os.environ.get("TWINSERVE_CHAOS_SEED", "7"))
LOAD = Load(http=4, rpc=2, rest_s=0.03)


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BalancedPlatform]:
    with balanced_platform(tmp_path_factory.mktemp("balanced")) as platform:
        yield platform


@pytest.fixture
def clients(balanced: BalancedPlatform) -> SteadyClients:
    known = KnownAnswers.read(balanced.repository, "mnist", (1, 2))
    return SteadyClients(balanced.url, balanced.grpc_address, known, LOAD)


def act_under_load(clients: SteadyClients, act: Callable[[], object]) -> None:
    """Some answers before, `act`, and some after; none may be wrong, and no request may fail."""
    with clients.running():
        wait_for_more(clients)
        act()
        wait_for_more(clients)
    print(clients.said())
    assert clients.bad == []


def wait_for_more(clients: SteadyClients, count: int = 200) -> None:
    enough = len(clients.asked) + count
    wait_until(lambda: len(clients.asked) > enough, 60, f"{count} more requests have ended")


def promote_under_load(balanced: BalancedPlatform, clients: SteadyClients) -> None:
    """PROMOTES of them; the ledgers of all gateways together agree with the clients' own count to the last request."""
    before = balanced.ledgers()

    def promote() -> None:
        for _ in range(PROMOTES):
            done = balanced.run("promote", "mnist", str(other(balanced)), "--keep", "0")
            assert done.returncode == 0, done.stdout + done.stderr

    act_under_load(clients, promote)
    expected = {"accepted": len(clients.asked), "answered": len(clients.asked), "failed": 0}
    wait_until(
        lambda: {kind: balanced.ledgers()[kind] - before[kind] for kind in LEDGER} == expected, 15, f"{expected}"
    )


def other(balanced: BalancedPlatform) -> int:
    live: int = balanced.state()["models"][0]["live"]
    return 3 - live


def test_promotes_lose_nothing_and_the_ledgers_of_all_gateways_are_the_clients_count(
    balanced: BalancedPlatform, clients: SteadyClients
) -> None:
    promote_under_load(balanced, clients)
    assert {one.version for one in clients.asked} == {"1", "2"}
    assert {one.engine for one in clients.asked} == {"torchserve", "tfserving"}
    assert len(balanced.state()["gateways"]) == len(balanced.gateways)


def test_both_gateways_have_a_share(balanced: BalancedPlatform, clients: SteadyClients) -> None:
    def accepted(gateway: str) -> float:
        return balanced.metric(balanced.metrics_of(gateway), "twinserve_ledger_accepted_total")

    before = {gateway: accepted(gateway) for gateway in balanced.gateways}
    act_under_load(clients, lambda: wait_for_more(clients, 1000))
    shares = [(accepted(gateway) - before[gateway]) / len(clients.asked) for gateway in balanced.gateways]
    print(f"shares of the gateways {shares}")
    assert min(shares) > 0.2


@pytest.mark.parametrize("service", ["torchserve", "tfserving", "gateway"])
@pytest.mark.timeout(600)
def test_a_rolling_restart_fails_nothing(balanced: BalancedPlatform, clients: SteadyClients, service: str) -> None:
    started = {container: started_at(container) for container in balanced.containers(service)}

    def roll() -> None:
        done = balanced.roll(service)
        assert done.returncode == 0, done.stdout + done.stderr

    act_under_load(clients, roll)
    assert all(started_at(container) > before for container, before in started.items())


def test_a_gateway_that_is_stopped_ends_well_and_is_used_again(
    balanced: BalancedPlatform, clients: SteadyClients
) -> None:
    stopped = balanced.gateways[0]

    def stop_and_start() -> None:
        docker("stop", "-t", "60", stopped)
        assert docker("inspect", "-f", "{{.State.ExitCode}}", stopped) == "0"
        wait_for_more(clients)
        docker("start", stopped)
        wait_until(lambda: balanced.is_healthy(stopped), 60, "it is healthy again")

    act_under_load(clients, stop_and_start)


def test_a_gateway_joins_while_an_engine_is_away(balanced: BalancedPlatform, clients: SteadyClients) -> None:
    joining, engine = balanced.gateways[0], balanced.container("tfserving")

    def restart_without_it() -> None:
        docker("stop", engine)
        try:
            docker("restart", "-t", "60", joining)
            wait_until(lambda: balanced.is_healthy(joining), 60, "it is ready with the engine that the other one has")
            wait_for_more(clients)
        finally:
            docker("start", engine)
        wait_until(lambda: all(map(has_both, balanced.gateways)), 90, "both have the engine again")

    def has_both(gateway: str) -> bool:
        return sum(balanced.up(balanced.metrics_of(gateway)).values()) == 2

    act_under_load(clients, restart_without_it)


def test_the_balancer_reads_its_configuration_again_without_a_loss(
    balanced: BalancedPlatform, clients: SteadyClients
) -> None:
    container = balanced.container("balancer")

    def workers() -> set[str]:
        return set(docker("top", container, "-o", "pid,cmd").split("\n")[1:])

    before = workers()

    def reload() -> None:
        docker("kill", "-s", "USR2", container)
        wait_until(lambda: bool(workers() - before), 20, "there is another worker")

    act_under_load(clients, reload)


@pytest.fixture
def replicas(balanced: BalancedPlatform) -> Iterator[list[str]]:
    """Two containers of TorchServe, used by both gateways; one again afterwards."""
    scale(balanced, 2)
    wait_until(lambda: all(up_endpoints(balanced, gateway) == 2 for gateway in balanced.gateways), 90, "both are used")
    yield balanced.containers("torchserve")
    scale(balanced, 1)
    wait_until(lambda: all(up_endpoints(balanced, gateway) == 1 for gateway in balanced.gateways), 90, "one is left")


def scale(balanced: BalancedPlatform, count: int) -> None:
    counts = ("--scale", f"torchserve={count}", "--scale", f"gateway={len(balanced.gateways)}")
    done = balanced.compose("up", "-d", "--no-deps", "--no-recreate", *counts, "torchserve")
    assert done.returncode == 0, done.stderr


ENDPOINT = re.compile(r"^twinserve_endpoint_(\w+)\{([^}]*)\} (\S+)$", re.MULTILINE)


def endpoints(balanced: BalancedPlatform, gateway: str, name: str) -> dict[str, float]:
    """A metric of every endpoint of TorchServe, by its labels, as one gateway tells it."""
    found = ENDPOINT.findall(balanced.metrics_of(gateway))
    return {labels: float(value) for kind, labels, value in found if kind == name and "torchserve" in labels}


def up_endpoints(balanced: BalancedPlatform, gateway: str) -> float:
    return sum(endpoints(balanced, gateway, "up").values())


def asked_of(balanced: BalancedPlatform) -> Counter[str]:
    """Requests by endpoint, of all gateways together."""
    total: Counter[str] = Counter()
    for gateway in balanced.gateways:
        total.update({labels: int(count) for labels, count in endpoints(balanced, gateway, "requests_total").items()})
    return total


@pytest.mark.timeout(900)
def test_two_replicas_share_evenly_and_one_may_be_killed(
    balanced: BalancedPlatform, clients: SteadyClients, replicas: list[str]
) -> None:
    def lead() -> None:
        wait_for_more(clients, 2000)  # what came last starts slowly
        before = asked_of(balanced)
        wait_for_more(clients, 2000)
        counts = sorted((asked_of(balanced) - before).values())
        print(f"requests of the two replicas {counts}")
        assert len(counts) == 2
        assert counts[1] - counts[0] <= 0.1 * sum(counts) / 2

        began = started_at(replicas[1])
        docker("kill", replicas[1])
        wait_until(lambda: started_at(replicas[1]) > began, 60, "the watchdog starts it again")
        wait_until(lambda: all(up_endpoints(balanced, one) == 2 for one in balanced.gateways), 90, "it is used again")
        before = asked_of(balanced)
        wait_until(lambda: len(asked_of(balanced) - before) == 2, 60, "both are asked again")

    act_under_load(clients, lead)


@pytest.mark.timeout(900)
def test_promotes_across_two_replicas_and_two_gateways_lose_nothing(
    balanced: BalancedPlatform, clients: SteadyClients, replicas: list[str]
) -> None:
    promote_under_load(balanced, clients)


@pytest.mark.timeout(60 * 90)
def test_chaos(balanced: BalancedPlatform, tmp_path_factory: pytest.TempPathFactory) -> None:
    report = run_chaos(balanced, CHAOS_S, SEED)
    write(report, tmp_path_factory.mktemp("chaos"))
    assert report.faults == []


def started_at(container: str) -> str:
    return docker("inspect", "-f", "{{.State.StartedAt}}", container)
