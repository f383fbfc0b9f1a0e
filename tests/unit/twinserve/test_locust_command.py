"""Locust's command line, by who makes the load."""

from pathlib import Path

import pytest

from twinserve.locust_command import Generators, locust_command


def flags(generators: Generators) -> list[str]:
    return locust_command({"--rate": 5.0, "--users": None}, ["--yes"], generators, Path("/results"))


def value(command: list[str], flag: str) -> str:
    return command[command.index(flag) + 1]


def test_one_process_is_no_master() -> None:
    command = flags(Generators())
    assert not [flag for flag in command if "master" in flag or "worker" in flag]
    assert command[-2:] == ["--rate=5.0", "--yes"], "what has no value is left out"
    assert value(command, "--csv") == "/results/requests"


def test_processes_meet_on_loopback_and_on_a_port_of_their_own() -> None:
    first, second = (flags(Generators(processes=2)) for _ in range(2))
    assert value(first, "--processes") == "2"
    assert value(first, "--master-bind-host") == "127.0.0.1"
    assert value(first, "--master-port") == value(first, "--master-bind-port")
    assert value(first, "--master-port") != value(second, "--master-port")


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_from_elsewhere_are_waited_for_where_they_look(workers: int) -> None:
    command = flags(Generators(workers=workers))
    assert "--master" in command
    assert value(command, "--expect-workers") == str(workers)
    assert value(command, "--master-bind-port") == "5557"
    assert "--master-bind-host" not in command
