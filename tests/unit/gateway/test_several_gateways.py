"""Gateways in containers on one repository: their processes may have equal numbers, and even equal host names."""

import os
import socket
from pathlib import Path

import pytest

from gateway.core.ports import PeerReport
from gateway.peers import DirectoryPeers


@pytest.fixture
def twins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[DirectoryPeers, DirectoryPeers]:
    monkeypatch.setattr(socket, "gethostname", lambda: "gateway")
    monkeypatch.setattr(os, "getpid", lambda: 7)
    return DirectoryPeers(tmp_path), DirectoryPeers(tmp_path)


def test_each_is_seen_by_the_other(twins: tuple[DirectoryPeers, DirectoryPeers]) -> None:
    first, second = twins
    assert first.name != second.name
    for peers in twins:
        peers.tell(PeerReport({}, {}, {"mnist": 1}))
    assert (set(first.others()), set(second.others())) == ({second.name}, {first.name})
    second.close()
    assert set(first.others()) == set()


def test_one_of_them_leads(twins: tuple[DirectoryPeers, DirectoryPeers]) -> None:
    first, second = twins
    engine = "http://torchserve:8080"
    assert (first.lead(engine), second.lead(engine)) == (True, False)
    first.close()
    assert second.lead(engine)
