"""Ports, places and tokens from the environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.addresses import Ports, engine_address
from gateway.settings import Settings
from loadtest.swaps import Defaults
from twinserve.places import Places, default_url, read_token
from twinserve.up_state import UpState, write_state


def test_the_default_ports_are_the_published_contract() -> None:
    assert Ports() == Ports(8000, 8001, 8080, 8081, 8082, 7070, 7071, 8500, 8501)
    assert Ports.from_environment({}) == Ports()


def test_ports_survive_the_environment() -> None:
    ports = Ports(*range(10_000, 10_009))
    assert Ports.from_environment(ports.to_environment()) == ports


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1", " ", "8e3"])
def test_what_is_no_port(port: str) -> None:
    with pytest.raises(ValueError, match=r"TWINSERVE_HTTP_PORT='.*' is not a port"):
        Ports.from_environment({"TWINSERVE_HTTP_PORT": port})


def test_engines_listen_on_loopback_unless_told() -> None:
    assert engine_address({}) == "127.0.0.1"
    assert engine_address({"TWINSERVE_ENGINE_ADDRESS": "0.0.0.0"}) == "0.0.0.0"


@pytest.mark.parametrize("address", ["everywhere", "::1", "127.0.0.1:8080"])
def test_what_is_no_address_to_listen_on(address: str) -> None:
    with pytest.raises(ValueError, match=r"TWINSERVE_ENGINE_ADDRESS='.*' is not an IPv4 address"):
        engine_address({"TWINSERVE_ENGINE_ADDRESS": address})


def test_the_gateway_reads_the_same_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in Ports(*range(10_000, 10_009)).to_environment().items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.http_port, settings.grpc_port) == (10_000, 10_001)
    assert (settings.torchserve_inference_port, settings.torchserve_metrics_port) == (10_002, 10_004)
    assert (settings.tfserving_grpc_port, settings.tfserving_rest_port) == (10_007, 10_008)


def test_what_is_empty_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the compose files, and where a script passes on a variable that it was not given."""
    names = {*Ports().to_environment(), "TWINSERVE_ENGINE_ADDRESS", "TWINSERVE_URL"}
    names |= {"TWINSERVE_HOME", "TWINSERVE_REPOSITORY", "TWINSERVE_ADMIN_TOKEN", "TWINSERVE_ADMIN_TOKEN_FILE"}
    empty = dict.fromkeys(names, "")
    assert Ports.from_environment(empty) == Ports()
    assert engine_address(empty) == engine_address({})
    assert Places.from_environment(empty) == Places.from_environment({})
    assert default_url(empty) == default_url({})
    assert Defaults.read(empty) == Defaults.read({})
    for name in (f"TWINSERVE_{field.upper()}" for field in Settings.model_fields):
        monkeypatch.delenv(name, raising=False)
    plain = Settings()
    for name in (f"TWINSERVE_{field.upper()}" for field in Settings.model_fields):
        monkeypatch.setenv(name, "")
    assert Settings() == plain


def test_the_token_comes_from_the_environment_or_the_file(tmp_path: Path) -> None:
    environment = {"TWINSERVE_HOME": str(tmp_path)}
    assert read_token(environment) is None
    places = Places.from_environment(environment)
    places.ensure_token()
    token = read_token(environment)
    assert token
    assert len(token) > 30
    places.ensure_token()
    assert read_token(environment) == token, "made once"
    assert places.token_file.stat().st_mode & 0o777 == 0o600
    assert Settings(admin_token_file=places.token_file).read_admin_token() == token
    assert read_token(environment | {"TWINSERVE_ADMIN_TOKEN": "given"}) == "given"


def test_the_url_follows_the_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_url({}) == "http://127.0.0.1:8000"
    assert default_url({"TWINSERVE_HTTP_PORT": "9000"}) == "http://127.0.0.1:9000"
    assert default_url({"TWINSERVE_URL": "https://there", "TWINSERVE_HTTP_PORT": "9000"}) == "https://there"


def test_the_url_of_an_up_that_runs_is_found_where_nothing_else_is_said(tmp_path: Path) -> None:
    environment = {"TWINSERVE_HOME": str(tmp_path)}
    state = Places.from_environment(environment).state
    write_state(state, UpState(os.getpid(), "http://127.0.0.1:9123", "embedded", []))
    assert default_url(environment) == "http://127.0.0.1:9123"
    assert default_url(environment | {"TWINSERVE_HTTP_PORT": ""}) == "http://127.0.0.1:9123"
    assert default_url(environment | {"TWINSERVE_HTTP_PORT": "8000"}) == "http://127.0.0.1:8000"
    assert default_url(environment | {"TWINSERVE_URL": "https://there"}) == "https://there"
    with pytest.raises(ValueError, match="TWINSERVE_HTTP_PORT='none' is not a port"):
        default_url(environment | {"TWINSERVE_HTTP_PORT": "none"})
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_state(state, UpState(ended.pid, "http://127.0.0.1:9123", "embedded", []))
    assert default_url(environment) == "http://127.0.0.1:8000", "its `up` was killed, and could not take it away"
