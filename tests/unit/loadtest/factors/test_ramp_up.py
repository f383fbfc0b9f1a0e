"""Lines and names of two frameworks' sources."""

from dataclasses import replace
from pathlib import Path

from loadtest.factors import ramp_up
from tests.unit.loadtest.factors.fake_runner import workplace_of


def test_our_own_sources_are_counted_for_both() -> None:
    _, workplace = workplace_of({})
    rows = {(row.framework, row.what): row.value for row in ramp_up.measure(workplace)}
    for framework in ("PyTorch", "TensorFlow"):
        for what in ("model", "training", "export", "names of the framework to know"):
            value = rows[framework, what]
            assert isinstance(value, int | float)
            assert 5 < value < 300
    assert rows["TensorFlow", "code that the server runs"] == 0


def test_sources_that_are_not_there_are_told(tmp_path: Path) -> None:
    _, workplace = workplace_of({})
    rows = list(ramp_up.measure(replace(workplace, sources=tmp_path)))
    assert [row.value for row in rows] == [None, None]
    assert all("not" in row.why_not for row in rows)
