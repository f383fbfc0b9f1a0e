"""`twinserve rollback`: it undoes the last rollout, and goes no further back by mistake."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.unit.gateway.listening import Listening, listening_gateway
from tests.unit.gateway.test_repository import publish
from twinserve.cli import app
from twinserve.client import GatewayClient


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listening]:
    """Version 2 of the adder is live, and was promoted from 1."""
    folder = tmp_path / "repository"
    folder.mkdir()
    publish(folder, 2)
    with listening_gateway(folder) as listening:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("TWINSERVE_URL", f"http://127.0.0.1:{listening.port}")
        monkeypatch.setenv("TWINSERVE_ADMIN_TOKEN", "t")
        assert run("promote", "adder", "2").exit_code == 0
        yield listening


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def begin(gateway: Listening, **order: object) -> None:
    """A promote of version 1 that waits for nothing but requests, of which there are none."""
    client = GatewayClient(f"http://127.0.0.1:{gateway.port}", "t")
    client.promote("adder", {"version": 1, "canary": [10], "hold_s": 60, **order})


def live(gateway: Listening) -> int:
    return int(GatewayClient(f"http://127.0.0.1:{gateway.port}", "t").model_state("adder")["live"])


def test_it_goes_back_both_ways_after_rollouts_that_went_well(gateway: Listening) -> None:
    assert json.loads(run("rollback", "adder", "--json").stdout)["version"] == 1
    assert json.loads(run("rollback", "adder", "--json").stdout)["version"] == 2


def test_typed_twice_it_withdraws_and_goes_no_further(gateway: Listening) -> None:
    begin(gateway)
    assert "was withdrawn before it went live" in run("rollback", "adder").stdout
    again = run("rollback", "adder")
    assert again.exit_code == 1
    assert "nothing to undo: version 1 of adder did not go live, version 2 is live as before" in again.stderr
    assert "twinserve rollback adder --yes" in again.stderr
    assert live(gateway) == 2
    assert json.loads(run("rollback", "adder", "--yes", "--json").stdout)["version"] == 1


def test_after_a_promote_that_failed_there_is_nothing_to_undo(
    gateway: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = {"kind": "promote", "state": "failed", "version": 3, "from_version": 2, "phases": {"load": 0.5}}
    state = {"model": "adder", "live": 2, "previous": 1, "candidate": None, "rollout": last}
    monkeypatch.setattr(GatewayClient, "model_state", lambda _client, _model: state)
    told = run("rollback", "adder", "--json")
    assert told.exit_code == 1
    assert json.loads(told.stdout)["error"].startswith("nothing to undo: version 3 of adder did not go live")
    state["candidate"] = {"version": 4}
    assert run("rollback", "adder").exit_code == 0, "there is one to withdraw, for all that is known"
