"""Ways of running one network: what is made is told once, and one that fails later does not cost the others."""

from collections.abc import Callable
from pathlib import Path

import pytest

from workers.factors import graphs
from workers.factors.graphs import Passes, measure_graphs
from workers.factors.task import Task


def way(made: list[str], name: str, most_rows: int = 100) -> Callable[[], Passes]:
    def passes(rows: int) -> Callable[[], object]:
        def call() -> object:
            if rows > most_rows:
                raise ValueError("so many rows do not fit")
            return sum(range(1000))

        return call

    def make() -> Passes:
        made.append(name)
        return passes

    return make


def test_graphs_are_made_once_and_what_fails_later_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "ROUNDS", 1)
    monkeypatch.setattr(graphs, "TURN_S", 0.001)
    made: list[str] = []
    ways = {"eager": way(made, "eager"), "narrow": way(made, "narrow", most_rows=1)}
    found = {finding.what: finding for finding in measure_graphs(Task(Path(), Path(), 0.0), ways)}
    assert made == ["eager", "narrow"]
    assert [what for what in found if "made" in what] == [
        "eager: made and first answered, 1 row",
        "narrow: made and first answered, 1 row",
    ]
    assert "number 2 of 2" in found["narrow: made and first answered, 1 row"].how
    assert found["eager: latency, 32 rows"].value is not None
    assert found["narrow: latency, 1 row"].value is not None
    assert found["narrow: latency, 32 rows"].why_not == "ValueError: so many rows do not fit"
