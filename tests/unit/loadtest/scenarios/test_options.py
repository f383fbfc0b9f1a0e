"""What a run can be told, by the command line, the web form and the environment."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from loadtest.scenarios.options import Options, add_arguments
from loadtest.scenarios.shapes import Protocol


class Parser(argparse.ArgumentParser):
    """Locust's takes some words more than argparse's, which are of no consequence here."""

    def add_argument(self, *names: Any, **words: Any) -> Any:
        for word in ("include_in_web_ui", "env_var"):
            words.pop(word, None)
        return super().add_argument(*names, **words)


def read(*arguments: str, environment: Mapping[str, str] | None = None, host: str | None = None) -> Options:
    parser = Parser()
    add_arguments(parser)
    given = parser.parse_args(arguments)
    given.num_users, given.run_time = None, None  # Locust's own
    return Options.read(given, host, environment or {})


@pytest.mark.parametrize(
    ("arguments", "duration_s"),
    [
        ((), None),
        (("--duration", "7"), 7),
        (("--quick",), 3),
        (("--quick", "--duration", "7"), 7),
        (("--scenario", "spike"), 60),
        (("--scenario", "hot-swap"), 60),
        (("--scenario", "mixed"), None),
    ],
)
def test_how_long(arguments: tuple[str, ...], duration_s: float | None) -> None:
    assert read(*arguments).duration_s == duration_s


def test_protocols_are_the_scenarios_or_those_named() -> None:
    assert read().protocols == (Protocol.BINARY,)
    assert read("--scenario", "mixed").protocols == tuple(Protocol)
    assert read("--scenario", "mixed", "--protocol", "grpc, json").protocols == (Protocol.GRPC, Protocol.JSON)
    with pytest.raises(ValueError, match="--protocol xml is none of json, binary"):
        read("--protocol", "xml")


def test_where_the_gateway_is() -> None:
    assert (read().url, read().grpc_address) == ("http://127.0.0.1:8000", "127.0.0.1:8001")
    elsewhere = read(host="far:9000/", environment={"TWINSERVE_GRPC_PORT": "9001"})
    assert (elsewhere.url, elsewhere.grpc_address) == ("http://far:9000", "far:9001")
    assert read("--grpc", "near:1").grpc_address == "near:1"


def test_the_token_comes_from_the_environment_or_the_run_directory(tmp_path: Path) -> None:
    assert read("--home", str(tmp_path)).token is None
    (tmp_path / "admin-token").write_text("of the file\n")
    assert read("--home", str(tmp_path)).token == "of the file"
    assert read("--home", str(tmp_path), environment={"TWINSERVE_ADMIN_TOKEN": "given"}).token == "given"


def test_data_that_was_asked_for_is_told_from_what_lies_around() -> None:
    around = read(environment={"TWINSERVE_MNIST": "images"}).sources
    asked = read("--data", "rows.npz", environment={"TWINSERVE_MNIST": "images"}).sources
    assert (around.data, around.is_asked) == (Path("images"), False)
    assert (asked.data, asked.is_asked) == (Path("rows.npz"), True)


def test_an_open_loop_is_one_with_a_rate_and_phases_follow_the_time() -> None:
    assert read().rate_per_s is None
    spike = read("--scenario", "spike", "--rate", "50", "--duration", "10")
    assert spike.rate_per_s == 50
    assert [spike.phase_at(at_s) for at_s in (1, 5, 9)] == ["before", "spike", "after"]
    assert spike.share_at(5) == 1
