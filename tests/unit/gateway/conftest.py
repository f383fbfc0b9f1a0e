"""Fixtures around the adder."""

import pytest

from gateway.engines.fake import FakeEngine
from tests.unit.gateway.adder import LedgerEvents, add


@pytest.fixture
def events() -> LedgerEvents:
    return LedgerEvents()


@pytest.fixture
def engines() -> tuple[FakeEngine, FakeEngine]:
    return FakeEngine("torchserve", add), FakeEngine("tfserving", add)
