"""Fixtures around the adder."""

from collections.abc import Iterator

import pytest

from gateway.engines.fake import FakeEngine
from tests.unit.gateway.adder import LedgerEvents, add
from tests.unit.gateway.listening import Listening, listening_gateway


@pytest.fixture
def events() -> LedgerEvents:
    return LedgerEvents()


@pytest.fixture
def engines() -> tuple[FakeEngine, FakeEngine]:
    return FakeEngine("torchserve", add), FakeEngine("tfserving", add)


@pytest.fixture(scope="session")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    """A gateway over fake engines on a real socket."""
    with listening_gateway(tmp_path_factory.mktemp("repository")) as listening:
        yield listening
