"""The one sentence, for each way a comparison may end."""

import pytest

from loadtest.compare.results import Comparison, Label, Verdict
from loadtest.compare.statistics import Effect, Outcome
from loadtest.compare.verdict import find_verdict, shown

A, B = Label("torchserve", "torchserve"), Label("tfserving", "embedded")
NOISE = Effect(10, 1.001, 0.98, 1.03, spread=0.0413)  # ten pairs may find 3 %


def verdict(effect: Effect, noise: Effect = NOISE) -> Verdict:
    gateway, against_itself = (Comparison("", 10, each.pairs, {"p50": each}, ()) for each in (effect, noise))
    return find_verdict(gateway, against_itself, A, B, "p50", 150.0)


def test_a_difference_is_told_by_how_much_the_slower_is_above_the_faster() -> None:
    found = verdict(Effect(10, 0.8, 0.75, 0.85))
    assert found.faster == "tfserving"
    assert found.sentence == (
        "tfserving (embedded) is faster: p50 latency at 150 requests a second is 25 % higher with torchserve, "
        "95 % interval 17.6 to 33.3 %, 10 pairs."
    )
    assert (found.percent, found.percent_high) == pytest.approx((25, 100 / 3))
    assert found.noise_percent == pytest.approx(3, rel=0.01)
    assert verdict(Effect(10, 1.25, 1.2, 1.3)).faster == "torchserve"


@pytest.mark.parametrize(
    ("effect", "outcome", "says"),
    [
        (Effect(10, 1.01, 0.97, 1.05), Outcome.NOT_DETECTABLE, "No difference is detectable in p50 latency at 150"),
        (Effect(10, 1.02, 1.01, 1.03), Outcome.WITHIN_NOISE, "may differ from itself by 3"),
        (Effect(3, 1.5), Outcome.TOO_FEW, "Nothing can be said of torchserve and tfserving (embedded): 3 pairs count"),
    ],
)
def test_otherwise_nobody_is_faster(effect: Effect, outcome: Outcome, says: str) -> None:
    found = verdict(effect)
    assert (found.outcome, found.faster, found.percent) == (outcome, None, None)
    assert says in found.sentence


def test_a_noise_run_that_finds_something_or_nothing_is_told() -> None:
    assert verdict(Effect(10, 1.5, 1.4, 1.6)).noise_caution == ""
    favoured = verdict(Effect(10, 1.5, 1.4, 1.6), Effect(10, 1.05, 1.02, 1.08, spread=0.0413))
    assert "seems to differ, and the noise floor holds as much more" in favoured.noise_caution
    assert favoured.noise_percent == pytest.approx(100 * (1.03 * 1.05 - 1), rel=0.01)
    assert "unknown: 2 pairs of it count" in verdict(Effect(10, 1.5, 1.4, 1.6), Effect(2, 1.05)).noise_caution


def test_an_engine_that_did_the_others_work_too_is_not_judged() -> None:
    clear = Comparison("", 10, 10, {"p50": Effect(10, 0.8, 0.75, 0.85)}, ())
    found = find_verdict(clear, clear, A, B, "p50", 150.0, mirrored=7450)
    assert (found.outcome, found.faster, found.percent) == (Outcome.DISTURBED, None, None)
    assert "7,450 answers of one were copied to the other" in found.sentence


def test_without_a_noise_floor_nobody_is_faster() -> None:
    found = verdict(Effect(10, 1.5, 1.4, 1.6), Effect(7, 1.0))
    assert (found.outcome, found.faster, found.percent) == (Outcome.NOISE_UNKNOWN, None, None)
    assert found.sentence.startswith("Who is faster is not known, since the noise floor is not: p50 latency at 150")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234.5, "1,234"), (99.96, "100"), (0.01234, "0.0123"), (3, "3"), (1e-7, "1.0e-07"), (-5.678, "-5.68")],
)
def test_numbers_are_shown_to_three_digits(value: float, text: str) -> None:
    assert shown(value) == text
