"""What the Dockerfiles and compose files promise, read as files: nothing here needs a Docker engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.addresses import Ports
from contracts.tfserving_command import MONITORING_CONFIG
from twinserve import engine_containers
from twinserve.watchdog import WATCH_LABEL
from workers.tf import launcher

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = {
    "gateway": ROOT / "gateway" / "Dockerfile",
    "torchserve": ROOT / "workers" / "torch" / "Dockerfile",
    "tfserving": ROOT / "workers" / "tf" / "Dockerfile",
    "tools": ROOT / "twinserve" / "Dockerfile",
    "load": ROOT / "loadtest" / "Dockerfile",
}
COMPOSE = (
    "docker-compose.yml",
    "docker-compose.balancer.yml",
    "docker-compose.embedded.yml",
    "docker-compose.gpu.yml",
    "docker-compose.watchdog.yml",
)
ENGINES = ("torchserve", "tfserving")
PLATFORM = ("tools", *ENGINES, "gateway")
MONITORING = ("prometheus", "grafana")
LOAD = ("locust-master", "locust-worker")


def read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return document


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read("docker-compose.yml")["services"]
    assert set(found) == {*PLATFORM, *MONITORING, *LOAD}
    return found


def test_the_official_image_gets_the_flags_of_our_launcher(services: dict[str, dict[str, Any]]) -> None:
    (script,) = services["tfserving"]["command"]
    config = Path("/tmp/tfserving-models.config")
    *said, started = re.split(" && exec | && ", script.strip())
    assert said == [
        f"echo 'model_config_list {{}}' > {config}",
        f"echo '{MONITORING_CONFIG}' > {config.with_name(launcher.MONITORING_NAME)}",
    ]
    assert started.split() == launcher.command(launcher.OFFICIAL, Ports(), config)


def test_the_official_image_starts_alike_in_both_ways(services: dict[str, dict[str, Any]]) -> None:
    """By the compose file, and by `twinserve up --engines-in docker`."""
    service = services["tfserving"]
    assert [*service["entrypoint"], *service["command"]] == list(engine_containers.official_command())
    assert service["image"] == f"${{TWINSERVE_TFSERVING_IMAGE:-{engine_containers.OFFICIAL_IMAGE}}}"


def test_the_embedded_engine_starts_as_its_image_does() -> None:
    service = read("docker-compose.embedded.yml")["services"]["tfserving"]
    found = re.search(r"^CMD (\[.*\])", DOCKERFILES["tfserving"].read_text(), re.MULTILINE)
    assert found
    assert [*service["entrypoint"], *service["command"]] == yaml.safe_load(found[1])


def test_only_the_gateway_reaches_the_engines(services: dict[str, dict[str, Any]]) -> None:
    assert read("docker-compose.yml")["networks"]["engines"] == {"internal": True}
    for engine in ENGINES:
        assert services[engine]["networks"] == ["engines"]
        assert not {"ports", "network_mode"} & services[engine].keys()
    assert services["tools"]["network_mode"] == "none"
    assert services["gateway"]["ports"] == [
        "${TWINSERVE_PUBLISH_ADDRESS:-127.0.0.1}:${TWINSERVE_HTTP_PORT:-8000}:8000",
        "${TWINSERVE_PUBLISH_ADDRESS:-127.0.0.1}:${TWINSERVE_GRPC_PORT:-8001}:8001",
    ]


def test_engines_only_read_the_repository(services: dict[str, dict[str, Any]]) -> None:
    for engine in ENGINES:
        assert "repository:/models:ro" in services[engine]["volumes"]
        assert not [volume for volume in services[engine]["volumes"] if volume.startswith("operator:")]
    assert "torchserve:/var/lib/twinserve/torchserve:ro" in services["gateway"]["volumes"]
    assert "operator:/var/lib/twinserve/operator:ro" in services["gateway"]["volumes"]


def test_every_service_is_bounded_and_unprivileged(services: dict[str, dict[str, Any]]) -> None:
    others = {"prometheus": "65534:65534", "grafana": "472:0"} | dict.fromkeys(
        LOAD, "${TWINSERVE_LOAD_USER:-10001:10001}"
    )
    for name, service in services.items():
        assert service["user"] == others.get(name, "10001:10001"), name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"mem_limit", "pids_limit", "logging"} <= service.keys(), name
        assert service["restart"] == ("no" if name == "tools" else "unless-stopped")


def test_the_watchdog_has_dockers_socket_and_nothing_else(services: dict[str, dict[str, Any]]) -> None:
    """Who has the socket is root on the host: nothing may come in there, and no file but the socket is to be seen."""
    overlay = read("docker-compose.watchdog.yml")
    assert overlay.keys() == {"services"}
    assert overlay["services"].keys() == {"watchdog"}
    service = overlay["services"]["watchdog"]
    assert service["network_mode"] == "none"
    assert not {"ports", "networks", "privileged", "cap_add", "build"} & service.keys()
    assert service["volumes"] == ["/var/run/docker.sock:/var/run/docker.sock"]
    shared = ("user", "read_only", "cap_drop", "security_opt", "logging", "init")
    assert {name: service[name] for name in shared} == {name: services["gateway"][name] for name in shared}
    assert {"mem_limit", "pids_limit"} <= service.keys()
    assert service["image"] == services["tools"]["image"]
    for name, other in services.items():
        assert "docker.sock" not in str(other), name


def test_the_watchdog_watches_the_engines_and_stops_before_them(services: dict[str, dict[str, Any]]) -> None:
    watched = [name for name, service in services.items() if service.get("labels") == {WATCH_LABEL: "true"}]
    assert sorted(watched) == sorted(ENGINES)
    assert read("docker-compose.watchdog.yml")["services"]["watchdog"]["depends_on"] == list(ENGINES)


def test_the_start_is_gated_by_health(services: dict[str, dict[str, Any]]) -> None:
    for engine in ENGINES:
        assert services[engine]["depends_on"] == {"tools": {"condition": "service_completed_successfully"}}
    assert services["gateway"]["depends_on"] == {engine: {"condition": "service_healthy"} for engine in ENGINES}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_are_pinned_unprivileged_and_healthy(name: str) -> None:
    text = DOCKERFILES[name].read_text()
    assert re.findall(r"^(?:ARG BASE=|FROM )(.*)$", text, re.MULTILINE) == ["python:3.11-slim-bookworm", "${BASE}"]
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001:10001"]
    assert (re.search(r"^HEALTHCHECK ", text, re.MULTILINE) is not None) == (name not in ("tools", "load"))
    assert re.findall(r"pip install.*", text) == re.findall(r"pip install --no-cache-dir -c constraints.txt .*", text)


def test_tools_share_the_layers_of_torchserve() -> None:
    torchserve, tools = (_instructions(DOCKERFILES[name]) for name in ("torchserve", "tools"))
    shared = torchserve[: torchserve.index("COPY contracts contracts")]
    assert tools[: len(shared)] == shared


def _instructions(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_files_hold_no_secret_and_no_registry(name: str) -> None:
    text = (ROOT / name).read_text()
    assert set(re.findall(r"https?://([\w.-]+)", text)) <= {"127.0.0.1", "gateway"}
    # Not even from the environment: an operator's shell holds the token, and would recreate the gateway with it.
    assert not re.search(r"TWINSERVE_ADMIN_TOKEN\b(?!_FILE)", text)


def test_both_engines_share_one_gpu() -> None:
    services = read("docker-compose.gpu.yml")["services"]
    devices = [services[engine]["deploy"]["resources"]["reservations"]["devices"] for engine in ENGINES]
    assert devices[0] == devices[1]
    assert devices[0][0]["driver"] == "nvidia"
    assert "gpu" in devices[0][0]["capabilities"]
    assert services["tfserving"]["environment"]["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"


def test_profiles_are_asked_for_and_reach_no_engine(services: dict[str, dict[str, Any]]) -> None:
    profiles = {name: service["profiles"] for name, service in services.items() if "profiles" in service}
    assert profiles == {name: ["monitoring"] for name in MONITORING} | {name: ["load"] for name in LOAD}
    networks = {name: services[name]["networks"] for name in (*MONITORING, *LOAD)}
    assert networks == {"prometheus": ["front", "monitoring"], "grafana": ["monitoring"]} | {
        name: ["front"] for name in LOAD
    }


def test_profiles_listen_on_loopback_and_hold_no_token(services: dict[str, dict[str, Any]]) -> None:
    for name in (*MONITORING, *LOAD):
        ports = services[name].get("ports", [])
        assert all(re.match(r"\$\{TWINSERVE_\w+_ADDRESS:-127\.0\.0\.1\}:", port) for port in ports), name
        sources = [volume.split(":")[0] for volume in services[name]["volumes"]]
        assert not {"operator", "torchserve"} & set(sources), name
    for name in MONITORING:
        assert "./monitoring:/monitoring:ro" in services[name]["volumes"]
    for name in LOAD:
        assert "repository:/models:ro" in services[name]["volumes"]


def test_grafana_lets_nobody_in_without_a_password_of_its_own(services: dict[str, dict[str, Any]]) -> None:
    """One that the operator gives, else one that is made: no default that everybody knows."""
    environment = services["grafana"]["environment"]
    assert environment["TWINSERVE_GRAFANA_PASSWORD"] == "${TWINSERVE_GRAFANA_PASSWORD:-}"
    assert not environment.keys() & {"GF_SECURITY_ADMIN_PASSWORD", "GF_SECURITY_ADMIN_USER"}
    (script,) = services["grafana"]["command"]
    assert environment["GF_SECURITY_ADMIN_PASSWORD__FILE"] in script
    assert "/dev/urandom" in script
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == environment["GF_USERS_ALLOW_SIGN_UP"] == "false"


def test_locusts_containers_start_as_their_image_does(services: dict[str, dict[str, Any]]) -> None:
    found = re.search(r"^CMD (\[.*\])", DOCKERFILES["load"].read_text(), re.MULTILINE)
    assert found
    for name in LOAD:
        start = yaml.safe_load(found[1])
        assert services[name]["command"][: len(start)] == start
