"""`twinserve loadtest` when it cannot run: it says why, and ends with 2."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.ports import free_port
from twinserve.cli import app
from twinserve.loadtest_command import Scenario


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TWINSERVE_URL", f"127.0.0.1:{free_port()}")


def test_no_gateway() -> None:
    result = CliRunner().invoke(app, ["loadtest", "steady", "--quick"])
    assert result.exit_code == 2
    assert "nothing answers at" in result.output
    document = json.loads(CliRunner().invoke(app, ["loadtest", "steady", "--json"]).stdout)
    assert "nothing answers at" in document["error"]


def test_no_locust(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def find(name: str, *rest: Any) -> Any:
        return None if name == "locust" else found(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    result = CliRunner().invoke(app, ["loadtest", "steady"])
    assert result.exit_code == 2
    assert "needs Locust: pip install" in result.output


def test_one_loop_only() -> None:
    result = CliRunner().invoke(app, ["loadtest", "steady", "--rate", "5", "--users", "5"])
    assert result.exit_code == 2
    assert "not both" in result.output


def test_an_engine_is_killed_only_when_that_is_meant() -> None:
    result = CliRunner().invoke(app, ["loadtest", "engine-kill", "--kill", "torchserve"])
    assert result.exit_code == 2
    assert "engine-kill ends torchserve of the platform in" in result.output
    assert "--yes" in result.output


def test_the_help_tells_every_scenario_and_exit_code() -> None:
    text = CliRunner().invoke(app, ["loadtest", "--help"], terminal_width=200).output
    assert all(f"{scenario.value}:" in text for scenario in Scenario)
    assert "Exit code 0" in text
    assert "130" in text


def test_processes_here_or_workers_elsewhere() -> None:
    result = CliRunner().invoke(app, ["loadtest", "steady", "--processes", "2", "--workers", "2"])
    assert result.exit_code == 2
    assert "not both" in result.output
