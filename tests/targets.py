"""Which platform the end-to-end tests run against: one suite, two targets.

`--target up` (the default): `twinserve up`, processes of this machine. `--target compose`: docker-compose.yml with the
embedded engine, from images that are built already; `make compose-test` builds them and runs this.
"""

import enum

import pytest


class TargetPlatform(enum.StrEnum):
    """What starts the platform."""

    UP = "up"
    COMPOSE = "compose"


COMMANDS = {TargetPlatform.UP: "make test", TargetPlatform.COMPOSE: "make compose-test"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --target."""
    parser.addoption(
        "--target", choices=list(TargetPlatform), default=TargetPlatform.UP, help="what starts the platform under test"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what is marked `only_on(target, reason)` for the other target, and say why."""
    target = target_of(config)
    for item in items:
        mark = item.get_closest_marker("only_on")
        if mark is None:
            continue
        wanted, reason = mark.args
        if TargetPlatform(wanted) is not target:
            item.add_marker(pytest.mark.skip(reason=f"runs in `{COMMANDS[TargetPlatform(wanted)]}` only: {reason}"))


def target_of(config: pytest.Config) -> TargetPlatform:
    """The target of this run."""
    return TargetPlatform(config.getoption("--target"))


@pytest.fixture(scope="session")
def target(pytestconfig: pytest.Config) -> TargetPlatform:
    """The target of this run."""
    return target_of(pytestconfig)
