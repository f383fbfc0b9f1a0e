"""Which containers `up --engines-in docker` starts, and what it says where it cannot."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.addresses import Ports
from tests.ports import free_port
from tests.unit.twinserve.fake_docker import FakeClient, FakeContainer
from twinserve import lifeline
from twinserve.docker_daemon import ContainerSpec, Daemon, DockerFailed
from twinserve.engine_containers import OFFICIAL_IMAGE, container_plans, find_images, remove_leftovers
from twinserve.places import Places

OURS = ("twinserve-torchserve:local", "twinserve-tfserving:local")
PORTS = Ports(torchserve_inference=1001, torchserve_management=1002, tfserving_grpc=1003, tfserving_rest=1004)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    repository = tmp_path / "repository"
    repository.mkdir()
    return Places(tmp_path / "home", repository, tmp_path / "home" / "admin-token")


def started(client: FakeClient, places: Places, environment: dict[str, str] | None = None) -> list[FakeContainer]:
    """Both engines' containers, as Docker was asked for them."""
    environment = environment or {}
    daemon = Daemon(client)
    plans = container_plans(places, PORTS, daemon, find_images(daemon, environment), environment)
    runs = [plan.start() for plan in (plans.torchserve, plans.tfserving)]
    for run in runs:
        run.kill()
    return client.made


def test_they_are_shut_in(places: Places) -> None:
    for made in started(FakeClient(*OURS), places):
        options = made.options
        assert options["read_only"] is True
        assert options["cap_drop"] == ["ALL"]
        assert options["security_opt"] == ["no-new-privileges:true"]
        assert options["user"] == f"{os.getuid()}:{os.getgid()}"
        assert options["volumes"][str(places.repository)] == {"bind": "/models", "mode": "ro"}
        assert {address for address, _ in options["ports"].values()} == {"127.0.0.1"}
        assert (options["mem_limit"], options["pids_limit"]) == ("4g", 1024)
        assert "restart_policy" not in options, "that is the supervisor's part"


def test_ports_and_folders_are_those_of_the_platform(places: Places) -> None:
    torchserve, tfserving = started(FakeClient(*OURS), places)
    assert (torchserve.image, tfserving.image) == OURS
    published = {inside: outside for inside, (_, outside) in torchserve.options["ports"].items()}
    assert published == {"8080/tcp": 1001, "8081/tcp": 1002, "8082/tcp": 8082, "7070/tcp": 7070, "7071/tcp": 7071}
    assert tfserving.options["ports"] == {"8500/tcp": ("127.0.0.1", 1003), "8501/tcp": ("127.0.0.1", 1004)}
    own = {"bind": "/var/lib/twinserve/torchserve", "mode": "rw"}
    assert torchserve.options["volumes"][str(places.torchserve)] == own
    assert places.torchserve.is_dir()
    assert not {"command", "entrypoint"} & torchserve.options.keys(), "the images' own"
    assert torchserve.name != tfserving.name


def test_limits_are_the_variables_of_the_compose_files(places: Places) -> None:
    given = {"TWINSERVE_TORCHSERVE_MEMORY": "2g", "TWINSERVE_TFSERVING_CPUS": "1.5"}
    torchserve, tfserving = started(FakeClient(*OURS), places, given)
    assert [torchserve.options["mem_limit"], tfserving.options["mem_limit"]] == ["2g", "4g"]
    assert [torchserve.options["nano_cpus"], tfserving.options["nano_cpus"]] == [0, 1_500_000_000]
    with pytest.raises(ValueError, match="TWINSERVE_TFSERVING_CPUS='many'"):
        started(FakeClient(*OURS), places, {"TWINSERVE_TFSERVING_CPUS": "many"})


def test_what_is_empty_counts_as_not_set(places: Places) -> None:
    """As the compose files read it."""
    engines = ("TORCHSERVE", "TFSERVING")
    names = {f"TWINSERVE_{engine}_{limit}" for engine in engines for limit in ("CPUS", "MEMORY")}
    given = dict.fromkeys({*names, "TWINSERVE_TAG", "TWINSERVE_TFSERVING_IMAGE"}, "")
    torchserve, tfserving = started(FakeClient(*OURS), places, given)
    assert (torchserve.image, tfserving.image) == OURS
    for made in (torchserve, tfserving):
        assert (made.options["mem_limit"], made.options["nano_cpus"]) == ("4g", 0)


def test_the_official_server_is_preferred_where_its_image_is(places: Places) -> None:
    _, tfserving = started(FakeClient(*OURS, OFFICIAL_IMAGE), places)
    assert tfserving.image == OFFICIAL_IMAGE
    assert tfserving.options["entrypoint"] == ["/bin/sh"]
    assert "exec tensorflow_model_server" in tfserving.options["command"][1]


@pytest.mark.parametrize(
    ("known", "environment", "said"),
    [
        ((), {}, r"the image twinserve-torchserve:local is missing.*docker-compose\.embedded\.yml build torchserve"),
        (OURS[:1], {}, "the image twinserve-tfserving:local is missing"),
        (OURS, {"TWINSERVE_TAG": "7"}, "the image twinserve-torchserve:7 is missing"),
        (OURS, {"TWINSERVE_TFSERVING_IMAGE": "mine:1"}, "the image mine:1 is missing.*docker pull mine:1"),
    ],
)
def test_a_missing_image_is_named_with_what_makes_it(
    known: tuple[str, ...], environment: dict[str, str], said: str
) -> None:
    with pytest.raises(DockerFailed, match=said):
        find_images(Daemon(FakeClient(*known)), environment)


def test_leftovers_of_this_folder_are_removed_and_others_left(places: Places, tmp_path: Path) -> None:
    client = FakeClient()
    daemon = Daemon(client)
    for name, home in (("old", places.home), ("other", tmp_path / "elsewhere")):
        daemon.start(ContainerSpec(name, "image", {"twinserve.home": str(home)}, (), {}, "1:1", {}, "1g"))
    assert remove_leftovers(places, daemon) == ["old"]
    assert [container.name for container in client.present] == ["other"]


def test_the_lifeline_removes_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeClient()
    daemon = Daemon(client)
    for name in ("twinserve-a", "twinserve-b"):
        daemon.start(ContainerSpec(name, "image", {}, (), {}, "1:1", {}, "1g"))
    monkeypatch.setattr(Daemon, "connect", classmethod(lambda cls: daemon))
    orders = iter([b"+twinserve-a\n", b"+twinserve-b\n", b"-twinserve-b\n", b"+twinserve-gone\n"])
    lifeline.kill(lifeline.watch(orders))  # type: ignore[arg-type]
    assert [container.name for container in client.present] == ["twinserve-b"]


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    with pytest.raises(DockerFailed, match=r"need the package docker: pip install .*\[docker\]"):
        Daemon.connect()


def test_without_a_daemon_up_says_so(tmp_path: Path) -> None:
    """The real SDK, and nobody at the address."""
    environment = {
        **os.environ,
        **Ports(**dict.fromkeys(Ports.__dataclass_fields__, free_port())).to_environment(),
        "TWINSERVE_HOME": str(tmp_path / "home"),
        "TWINSERVE_REPOSITORY": str(tmp_path / "repository"),
        "DOCKER_HOST": f"unix://{tmp_path}/nobody.sock",
    }
    command = [sys.executable, "-m", "twinserve", "up", "--engines-in", "docker"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "no Docker daemon answers; is it running, and may you use it?" in done.stderr
    assert not (tmp_path / "repository").exists(), "it is said before anything is published"
