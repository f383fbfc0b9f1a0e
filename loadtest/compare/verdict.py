"""The one sentence: which engine is faster and by how much, or that nothing of the kind can be said. Pure."""

import math

from loadtest.compare.results import Comparison, Label, Verdict
from loadtest.compare.statistics import LEAST_OF_AN_ORDER, LEAST_PAIRS, Effect, Outcome, decide

_NEEDED = f"{LEAST_PAIRS} are needed, and {LEAST_OF_AN_ORDER} of each order"


def find_verdict(
    gateway: Comparison,
    noise: Comparison,
    a: Label,
    b: Label,
    metric: str,
    rate_per_s: float,
    *,
    mirrored: int = 0,
) -> Verdict:
    """Of the pairs behind the gateway, by one metric that was named before anything was measured.

    None where the gateway has copied `mirrored` answers to the other engine meanwhile.
    """
    if mirrored:
        return _disturbed(a, b, mirrored)
    effect, floor = gateway.effects[metric], noise.effects[metric]
    outcome = decide(effect, floor)
    may_differ = floor.noise_floor(effect.pairs) if effect.pairs else None
    noise_percent = None if may_differ is None else 100 * math.expm1(may_differ)
    what = f"{metric} latency at {shown(rate_per_s)} requests a second"
    sentence = _say(outcome, effect, noise_percent, (a, b), what)
    caution = _caution(floor)
    if outcome not in (Outcome.A_LESS, Outcome.B_LESS):
        return Verdict(outcome, None, sentence, noise_percent, caution)
    percent, low, high = _excess(outcome, effect)
    faster = (a if outcome is Outcome.A_LESS else b).engine
    return Verdict(outcome, faster, sentence, noise_percent, caution, percent, low, high)


def _disturbed(a: Label, b: Label, mirrored: int) -> Verdict:
    sentence = (
        f"Nothing can be said of {a.text} and {b.text}: {mirrored:,} answers of one were copied to the other meanwhile "
        "(mirroring), which was measured as its own work."
    )
    return Verdict(Outcome.DISTURBED, None, sentence, None, "")


def shown(value: float) -> str:
    """A number as people read it: three digits that count, and all those before the point."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return text if "e" not in text else f"{value:.1e}"


def _say(outcome: Outcome, effect: Effect, noise_percent: float | None, labels: tuple[Label, Label], what: str) -> str:
    a, b = (label.text for label in labels)
    if outcome is Outcome.TOO_FEW:
        return f"Nothing can be said of {a} and {b}: {effect.pairs} pairs count, {_NEEDED}."
    ratio = f"{b} over {a} is {_three(effect.ratio)}, 95 % interval {_three(effect.low)} to {_three(effect.high)}"
    if outcome is Outcome.NOT_DETECTABLE:
        return f"No difference is detectable in {what}: {ratio}, {effect.pairs} pairs."
    if outcome is Outcome.NOISE_UNKNOWN or noise_percent is None:
        return f"Who is faster is not known, since the noise floor is not: {what}, {ratio}, {effect.pairs} pairs."
    if outcome is Outcome.WITHIN_NOISE:
        return (
            f"No difference beyond the noise in {what}: {ratio}, {effect.pairs} pairs, and an engine may differ from "
            f"itself by {shown(noise_percent)} %."
        )
    faster, slower = (a, b) if outcome is Outcome.A_LESS else (b, a)
    percent, low, high = _excess(outcome, effect)
    return (
        f"{faster} is faster: {what} is {shown(percent)} % higher with {slower}, "
        f"95 % interval {shown(low)} to {shown(high)} %, {effect.pairs} pairs."
    )


def _excess(outcome: Outcome, effect: Effect) -> tuple[float, float, float]:
    """By how many percent the slower is above the faster, and the interval's ends."""
    ratio, low, high = (value or 1.0 for value in (effect.ratio, effect.low, effect.high))
    if outcome is Outcome.B_LESS:
        ratio, low, high = 1 / ratio, 1 / high, 1 / low
    return 100 * (ratio - 1), 100 * (low - 1), 100 * (high - 1)


def _caution(floor: Effect) -> str:
    if floor.low is None:
        return f"The noise floor is unknown: {floor.pairs} pairs of it count, {_NEEDED}."
    if floor.excludes_one:
        return (
            "An engine compared with itself seems to differ, and the noise floor holds as much more. By chance that "
            "happens once in 20 runs; if it happens again, something on this machine spoils the measurement."
        )
    return ""


def _three(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
