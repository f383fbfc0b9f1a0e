"""What the composed platform shuts in: networks, users, file systems; and that Compose takes all shipped files."""

import subprocess
from collections.abc import Iterator
from itertools import chain

import pytest

from tests.composed.composed_platform import ROOT, SERVICES, ComposedPlatform, compose_command, docker

pytestmark = [pytest.mark.engines, pytest.mark.only_on("compose", "it is about containers")]

PORTS = {"torchserve": (8080, 8081, 8082, 7070, 7071), "tfserving": (8500, 8501)}
RUNNING = ("torchserve", "tfserving", "gateway", "watchdog")
CONNECT = 'for port in {ports}; do timeout 2 bash -c "</dev/tcp/{host}/$port" 2>/dev/null && echo $port; done; true'


def addresses(platform: ComposedPlatform, engine: str) -> list[str]:
    """The engine's addresses, in all networks it has joined."""
    return [network["IPAddress"] for network in platform.inspect(engine)["NetworkSettings"]["Networks"].values()]


def connect(host: str, ports: tuple[int, ...]) -> str:
    return CONNECT.format(host=host, ports=" ".join(map(str, ports)))


@pytest.fixture
def stranger(platform: ComposedPlatform) -> Iterator[str]:
    """A container on a network of its own and on the gateway's outer one, where no engine is."""
    try:
        yield platform.compose.make_stranger()
    finally:
        platform.compose.remove_stranger()


@pytest.mark.parametrize("engine", PORTS)
def test_nobody_but_the_gateway_reaches_an_engine(platform: ComposedPlatform, stranger: str, engine: str) -> None:
    reached = platform.shell("gateway", connect(engine, PORTS[engine])).stdout.split()
    assert reached == [str(port) for port in PORTS[engine]], "the gateway reaches all of them"
    for host in (engine, *addresses(platform, engine)):
        assert docker("exec", stranger, "bash", "-c", connect(host, PORTS[engine])) == ""
    assert docker("exec", stranger, "bash", "-c", connect("gateway", (8000,))) == "8000", "it can connect at all"
    assert not any(platform.inspect(engine)["NetworkSettings"]["Ports"].values()), "nothing is published on the host"


@pytest.mark.parametrize("service", [*SERVICES, "watchdog"])
def test_no_container_runs_as_root(platform: ComposedPlatform, service: str) -> None:
    known = platform.inspect(service)
    assert known["Config"]["User"] == "10001:10001"
    assert known["HostConfig"]["CapDrop"] == ["ALL"]
    assert known["HostConfig"]["Privileged"] is False
    if service in RUNNING:
        rows = platform.shell(service, "grep -h ^Uid: /proc/[0-9]*/status").stdout.splitlines()
        assert len(rows) > 2, "docker-init, the server, and this very command"
        assert {uid for row in rows for uid in row.split()[1:]} == {"10001"}, rows


@pytest.mark.parametrize("service", RUNNING)
def test_roots_are_read_only_and_engines_only_read_the_repository(platform: ComposedPlatform, service: str) -> None:
    for folder in ("/", "/opt/twinserve", "/etc", "/usr/local/bin"):
        refused = platform.shell(service, f"touch {folder}/x")
        assert refused.returncode != 0
        assert "Read-only file system" in refused.stderr
    writes = platform.shell(service, "touch /models/.written && rm /models/.written")
    if service == "gateway":
        assert writes.returncode == 0, writes.stderr
    elif service in PORTS:
        assert "Read-only file system" in writes.stderr


def test_the_token_and_torchserves_keys_are_for_their_users_only(platform: ComposedPlatform) -> None:
    stat = "stat -c '%a %u' /var/lib/twinserve/torchserve/*/key_file.json"  # a folder a container
    keys = platform.shell("gateway", stat).stdout.split()
    assert keys == ["600", "10001"]
    for engine in PORTS:
        assert platform.shell(engine, "test -e /var/lib/twinserve/operator/admin-token").returncode == 1
    known = "".join(docker("inspect", platform.container(service)) for service in SERVICES)
    assert platform.token not in known, "what Docker tells about the containers holds no secret"


def test_the_log_has_what_it_should(platform: ComposedPlatform) -> None:
    """Workers of TorchServe are forked in containers too, and it finds all programs that it starts."""
    log = docker("logs", platform.container("torchserve"))
    assert "Model server started" in log
    assert "imports torch by itself" not in log
    assert "interrupted during waitFor" not in log


@pytest.mark.parametrize(
    "files",
    [
        ("docker-compose.yml",),
        ("docker-compose.yml", "docker-compose.embedded.yml"),
        ("docker-compose.yml", "docker-compose.gpu.yml"),
        ("docker-compose.yml", "docker-compose.gpu.yml", "docker-compose.embedded.yml"),
        ("docker-compose.yml", "docker-compose.watchdog.yml"),
        ("docker-compose.yml", "docker-compose.gpu.yml", "docker-compose.embedded.yml", "docker-compose.watchdog.yml"),
    ],
    ids=["official", "embedded", "official-gpu", "embedded-gpu", "official-watched", "embedded-gpu-watched"],
)
def test_compose_accepts_the_shipped_files(files: tuple[str, ...]) -> None:
    command = compose_command()
    assert command
    arguments = [*command, *chain.from_iterable(("-f", name) for name in files), "config"]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert ("nvidia" in done.stdout) == ("docker-compose.gpu.yml" in files)
