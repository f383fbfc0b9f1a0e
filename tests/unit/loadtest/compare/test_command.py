"""`twinserve compare` and the program behind it: what the one takes, the other understands."""

import pytest
from typer.testing import CliRunner

from loadtest.compare.command_line import VERDICT_METRICS, read_arguments
from twinserve import compare_command
from twinserve.cli import app


def taken(monkeypatch: pytest.MonkeyPatch, code: int) -> list[list[str]]:
    """The commands that would be run, each of which ends with that exit code."""
    commands: list[list[str]] = []

    def run(command: list[str]) -> int:
        commands.append(command)
        return code

    monkeypatch.setattr(compare_command, "_run", run)
    return commands


def test_every_option_reaches_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = taken(monkeypatch, 130)
    given = ["--quick", "--url", "http://h:1", "--model", "m", "--metric", "p99", "--rate", "80.5", "--slo-ms", "20"]
    given += ["--price-per-hour", "1.5", "--pairs", "8", "--slot-s", "0.5", "--pairs-only", "--seed", "7", "--json"]
    given += ["--factors"]
    given += ["--direct", "torchserve=http://a:1", "--direct", "tfserving=http://b:2", "--torchserve-key-file", "k"]
    done = CliRunner().invoke(app, ["compare", *given, "--out", "o"])
    assert done.exit_code == 130
    (command,) = commands
    assert command[1:3] == ["-m", "loadtest.compare"]
    read = vars(read_arguments(command[3:]))
    asked = vars(read_arguments([*given, "--out", "o"]))
    assert read == asked
    assert read["direct"] == {"torchserve": "http://a:1", "tfserving": "http://b:2"}
    assert read["slot_s"] == 0.5


def test_every_metric_of_the_command_is_one_of_the_programs() -> None:
    assert tuple(compare_command.Metric) == VERDICT_METRICS


def test_defaults_are_the_programs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = taken(monkeypatch, 0)
    assert CliRunner().invoke(app, ["compare"]).exit_code == 0
    assert vars(read_arguments(commands[0][3:])) == vars(read_arguments([]))
