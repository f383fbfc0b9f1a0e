"""Tables of `twinserve status`."""

import time
from typing import Any

import pytest

from twinserve.state_view import print_processes

NAME = "twinserve-torchserve-0123abcd"


def child(name: str, container: str | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "state": "ready",
        "pid": 1234,
        "started_at": time.time(),
        "restarts": 0,
        "last_cause": None,
        "container": container,
    }


def test_containers_have_a_column_where_there_are_any(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_processes([child("torchserve", NAME), child("gateway")])
    head, torchserve, gateway = capsys.readouterr().out.splitlines()[:3]
    assert "container" in head
    assert NAME in torchserve
    assert NAME not in gateway
    print_processes([child("torchserve"), child("gateway")])
    assert "container" not in capsys.readouterr().out
