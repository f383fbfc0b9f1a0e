"""Tables of `twinserve status`."""

import time
from typing import Any

import pytest

from twinserve.child_life import State
from twinserve.state_view import print_processes, print_state

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


@pytest.mark.parametrize(
    ("state", "is_shown"),
    [
        (State.STARTING, True),
        (State.READY, True),
        (State.STOPPING, True),
        (State.WAITING, False),
        (State.GAVE_UP, False),
    ],
)
def test_what_is_not_running_has_no_pid_and_no_uptime(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, state: State, is_shown: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_processes([child("torchserve") | {"state": state.value}])
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split() == ["torchserve", *state.value.split(), *(["1234", "0:00:00"] if is_shown else ["-", "-"]), "0"]


@pytest.mark.parametrize("columns", range(40, 100, 7))
def test_no_line_of_a_rollout_ends_between_a_number_and_its_unit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    phases = {"load": 3.25, "warm": 0.5, "compare": 1.0, "canary 10%": 30.0, "flip": 0.01, "drain": 0.0, "unload": 0.12}
    rollout = {"kind": "promote", "from_version": 1, "version": 2, "state": "done", "phase": "done", "phases": phases}
    rollout |= {"memory_before": {"torchserve": 3e8}, "memory_after": {"torchserve": 4e8}, "reason": "all is well"}
    model = {"model": "mnist", "versions": [], "mirror": {}, "routing": {"torchserve": 1.0}, "rollout": rollout}
    print_state({"engines": [], "models": [model], "ready": True})
    lines = capsys.readouterr().out.splitlines()
    told = lines[next(place for place, line in enumerate(lines) if line.startswith("last promote")) : -2]
    assert " ".join(told) == (
        "last promote: 1 to 2, done; load 3.25 s, warm 0.50 s, compare 1.00 s, canary 10% 30.00 s, flip 0.01 s, "
        "drain 0.00 s, unload 0.12 s; torchserve 300 to 400 MB; all is well"
    )
    assert len(told) > 1
    assert all(len(line) <= columns for line in told)
    assert not [line for line in told if line.split()[0] in ("s,", "s;", "MB;")]
