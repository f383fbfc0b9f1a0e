"""What a killed run of the composed platform's tests left is no obstacle to the next. `docker` is a stand-in."""

import os
from pathlib import Path

import pytest

from tests.composed.composed_platform import Compose

# Containers and networks are files; as with Docker, a name is taken once, and what is not there cannot be removed.
DOCKER = """#!/bin/sh
cd {state} || exit 2
take() {{ [ ! -e "$1" ] || {{ echo "$1 exists already" >&2; exit 1; }}; touch "$1"; }}
case "$*" in
    *label=*) ;;
    "network create "*) take "networks/$3" ;;
    "network rm "*) rm "networks/$3" ;;
    "network ls "*) ls networks ;;
    "create --name "*) take "containers/$3" ;;
    "rm -f "*) rm "containers/$3" ;;
    "ps -a "*) ls containers ;;
    "network connect "* | "start "*) [ -e "containers/${{4:-$2}}" ] ;;
    *) echo "not expected: $*" >&2; exit 2 ;;
esac
"""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what exists; somebody else's container is there already."""
    state = tmp_path / "state"
    for kind in ("containers", "networks"):
        (state / kind).mkdir(parents=True)
        (state / kind / "project-stranger-2").touch()
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(DOCKER.format(state=state))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return state


def strangers(state: Path) -> list[str]:
    return sorted(str(path.relative_to(state)) for path in state.rglob("project-stranger"))


@pytest.fixture
def compose() -> Compose:
    return Compose(["true"], project="project")


@pytest.mark.parametrize("left", [(), ("networks",), ("networks", "containers")])
def test_the_stranger_of_a_killed_run_is_replaced(state: Path, compose: Compose, left: tuple[str, ...]) -> None:
    for kind in left:
        (state / kind / "project-stranger").touch()
    assert compose.make_stranger() == "project-stranger"
    assert strangers(state) == ["containers/project-stranger", "networks/project-stranger"]
    compose.remove_stranger()
    assert strangers(state) == []
    compose.remove_stranger()  # which is as good when there is none


@pytest.mark.parametrize("left", [("networks",), ("networks", "containers")])
def test_the_end_of_the_platform_takes_it_along(state: Path, compose: Compose, left: tuple[str, ...]) -> None:
    for kind in left:
        (state / kind / "project-stranger").touch()
    assert compose.down() == []
    assert strangers(state) == []
    assert (state / "containers" / "project-stranger-2").exists(), "it is somebody else's"
