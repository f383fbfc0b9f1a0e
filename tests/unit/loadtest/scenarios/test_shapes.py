"""Every scenario's load over time, and arrivals that follow it."""

import numpy as np
import pytest

from loadtest.arrivals import varying_arrivals
from loadtest.scenarios.shapes import KILL_AT, SCENARIOS
from twinserve.loadtest_command import Protocol, Scenario


def test_the_command_knows_the_same_scenarios_and_protocols() -> None:
    assert [each.value for each in Scenario] == list(SCENARIOS)
    assert {each.value for each in Protocol} == {str(each) for each in SCENARIOS["mixed"].protocols}


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda scenario: scenario.name)
def test_phases_fill_the_time_and_never_ask_for_more_than_all(scenario: object) -> None:
    shape = SCENARIOS[scenario.name]  # type: ignore[attr-defined]
    assert sum(phase.length for phase in shape.phases) == pytest.approx(1)
    shares = [shape.share_at(progress) for progress in np.linspace(-0.1, 1.1, 200)]
    assert min(shares) > 0
    assert max(shares) == 1


@pytest.mark.parametrize(
    ("name", "progress", "phase", "share"),
    [
        ("ramp", 0.0, "rising", 0.1),
        ("ramp", 0.4, "rising", 0.55),
        ("ramp", 0.9, "full", 1.0),
        ("spike", 0.39, "before", 0.2),
        ("spike", 0.5, "spike", 1.0),
        ("spike", 0.7, "after", 0.2),
        ("soak", 0.1, "first quarter", 1.0),
        ("soak", 0.8, "last quarter", 1.0),
        ("engine-kill", KILL_AT, "after the kill", 1.0),
    ],
)
def test_what_happens_when(name: str, progress: float, phase: str, share: float) -> None:
    assert SCENARIOS[name].phase_at(progress) == phase
    assert SCENARIOS[name].share_at(progress) == pytest.approx(share)


def test_arrivals_follow_a_spike() -> None:
    spike = SCENARIOS["spike"]
    arrivals = list(varying_arrivals(lambda at_s: 1000 * spike.share_at(at_s / 10), 1000, seed=3, duration_s=10))
    counts, _ = np.histogram(arrivals, [0, 4, 6, 10])
    for count, expected in zip(counts, [800, 2000, 800], strict=True):
        assert abs(count - expected) < 5 * np.sqrt(expected), "within five standard deviations of a Poisson count"
    assert arrivals == sorted(arrivals)
    again = list(varying_arrivals(lambda at_s: 1000 * spike.share_at(at_s / 10), 1000, seed=3, duration_s=10))
    assert again == arrivals
