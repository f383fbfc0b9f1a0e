"""Fixtures around the adder."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.engines.fake import FakeEngine
from tests.unit.gateway.adder import LedgerEvents, add
from tests.unit.gateway.listening import Listening, listening_gateway
from tests.unit.gateway.served import Served, serving
from tests.unit.gateway.wired_core import Engines, Gateway, Platform, running


@pytest.fixture
def events() -> LedgerEvents:
    return LedgerEvents()


@pytest.fixture
def engines() -> Engines:
    return FakeEngine("torchserve", add), FakeEngine("tfserving", add)


@pytest.fixture
async def gateway(engines: Engines, events: LedgerEvents) -> Gateway:
    """The core over two fake engines, looked at once."""
    gateway = Gateway(engines, events)
    await gateway.look()
    return gateway


@pytest.fixture
async def platform(events: LedgerEvents) -> AsyncIterator[Platform]:
    """The core over two fake engines, running."""
    platform = Platform(events)
    async with running(platform):
        yield platform


@pytest.fixture(scope="session")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    """A gateway over fake engines on a real socket."""
    with listening_gateway(tmp_path_factory.mktemp("repository")) as listening:
        yield listening


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as served:
        yield served
