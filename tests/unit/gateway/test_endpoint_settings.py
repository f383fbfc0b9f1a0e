"""How the settings write where the endpoints of an engine are, and what becomes of that."""

from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from gateway.app import make_app, make_engines
from gateway.engines.addresses import ServerAddress, read_addresses
from gateway.settings import Settings
from tests.platform_process import free_ports, wait_until_async

PORTS = (8080, 8081, 8082)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10.0.0.3", [ServerAddress("10.0.0.3", PORTS)]),
        ("10.0.0.3:9080", [ServerAddress("10.0.0.3", (9080, 8081, 8082))]),
        (
            "127.0.0.1:1/2/3, 127.0.0.1:4/5/6",
            [ServerAddress("127.0.0.1", (1, 2, 3)), ServerAddress("127.0.0.1", (4, 5, 6))],
        ),
        (
            "[fd00::7]:9080/9081,torchserve",
            [ServerAddress("fd00::7", (9080, 9081, 8082)), ServerAddress("torchserve", PORTS)],
        ),
    ],
)
def test_a_list_of_endpoints(text: str, found: list[ServerAddress]) -> None:
    assert list(read_addresses(text, PORTS)) == found


def test_an_endpoint_is_named_by_its_engine_and_its_address() -> None:
    assert ServerAddress("10.0.0.3", PORTS).endpoint("torchserve") == "torchserve/10.0.0.3:8080"
    assert ServerAddress("fd00::7", PORTS).endpoint("torchserve") == "torchserve/[fd00::7]:8080"
    assert ServerAddress("fd00::7", PORTS).is_literal
    assert not ServerAddress("torchserve", PORTS).is_literal


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("10.0.0.3,10.0.0.3", "every endpoint once"),
        ("10.0.0.3:1/2/3,10.0.0.3:4/5/3", "ports of its own"),
        ("10.0.0.3:1/2/3/4", "expected host or host:port/port/port"),
        ("10.0.0.3:0", "expected host"),
        ("10.0.0.3:70000", "expected host"),
        ("10.0.0.3,", "expected host"),
        ("http://10.0.0.3:8080", "expected host"),
        ("fd00::7", "expected host"),
    ],
)
def test_a_list_that_is_none(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_addresses(text, PORTS)
    with pytest.raises(ValueError, match="torchserve: "):
        Settings(torchserve_endpoints=text)


async def test_every_address_is_an_endpoint_and_a_name_is_one_that_is_down(tmp_path: Path) -> None:
    settings = Settings(
        repository=tmp_path,
        torchserve_endpoints="127.0.0.1:1/2/3,127.0.0.1:4/5/6",
        tfserving_host="tfserving",
        tfserving_implementation="embedded",
    )
    engines = make_engines(settings)
    assert [(engine.endpoint, engine.implementation) for engine in engines] == [
        ("torchserve/127.0.0.1:1", "torchserve"),
        ("torchserve/127.0.0.1:4", "torchserve"),
        ("tfserving/tfserving:8500", "embedded"),
    ]
    assert [engine.address for engine in engines[:2]] == ["http://127.0.0.1:2", "http://127.0.0.1:5"]
    for engine in engines:
        await engine.close()


async def test_the_host_alone_is_one_endpoint(tmp_path: Path) -> None:
    engines = make_engines(Settings(repository=tmp_path, tfserving_host="::1"))
    assert [engine.endpoint for engine in engines] == ["torchserve/127.0.0.1:8080", "tfserving/[::1]:8500"]
    for engine in engines:
        await engine.close()


def test_a_host_of_version_6_may_have_brackets() -> None:
    with_them, without = (Settings(torchserve_host=host).torchserve_servers for host in ("[::1]", "::1"))
    assert with_them == without == (ServerAddress("::1", PORTS),)


async def test_a_gateway_finds_the_endpoints_behind_a_name(tmp_path: Path) -> None:
    ports = free_ports()
    settings = Settings(
        repository=tmp_path,
        grpc_port=0,
        torchserve_host="localhost",
        torchserve_inference_port=ports.torchserve_inference,
        torchserve_management_port=ports.torchserve_management,
        tfserving_grpc_port=ports.tfserving_grpc,
        probe_interval_s=0.05,
    )
    ended: list[str] = []
    app = make_app(settings, make_engines(settings), lambda: ended.append("stopped"))
    found = f'endpoint="torchserve/127.0.0.1:{ports.torchserve_inference}"'
    [exposition] = [
        route.endpoint for route in app.fastapi.routes if isinstance(route, APIRoute) and route.path == "/metrics"
    ]
    async with app.fastapi.router.lifespan_context(app.fastapi):

        async def is_found() -> bool:
            text = (await exposition()).body.decode()
            return found in text and "torchserve/localhost" not in text

        await wait_until_async(is_found, 20, "the address has taken the place of the name")
    assert ended == []
