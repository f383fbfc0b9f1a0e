"""Whole runs with engines that pretend: what is measured, in which order, and what the verdict is."""

import asyncio
import math
from dataclasses import replace

import numpy as np
import pytest

from loadtest.compare.plan import Side, Sizes
from loadtest.compare.results import Comparison, Label, Verdict
from loadtest.compare.runner import Measured, Names, PairOfTrials, Runner, Wish
from loadtest.compare.statistics import Outcome
from loadtest.compare.summary import Terms, compare_pairs, describe_side, find_rejected
from loadtest.compare.trials import Load, Trial
from loadtest.compare.verdict import find_verdict
from tests.unit.loadtest.compare.simulated import SimulatedMeter, trial_of

A, B = "torchserve", "tfserving"
NAMES = Names({Side.A: A, Side.B: B})
LABELS = (Label(A, A), Label(B, "embedded"))
SIZES = Sizes(capacity_s=1.0, slot_s=2.0, noise_pairs=8, pairs=8, direct_pairs=2, slo_s=0.0, fails_needed=1)


async def measure(meter: SimulatedMeter, sizes: Sizes = SIZES, rate_per_s: float | None = 150.0) -> Measured:
    wish = Wish(meter.seed, slo_ms=25.0, rate_per_s=rate_per_s)
    return await Runner(meter, NAMES, sizes, wish, lambda *_: None, asyncio.Event()).run()


def judge(measured: Measured) -> tuple[Verdict, Comparison]:
    gateway = compare_pairs("gateway", SIZES.pairs, measured.gateway, 1)
    noise = compare_pairs("noise", SIZES.noise_pairs, measured.noise, 1)
    return find_verdict(gateway, noise, *LABELS, "p50", measured.rate_per_s), gateway


async def test_an_engine_slowed_by_a_tenth_is_named_with_about_that_much() -> None:
    for slow, fast, outcome in ((A, B, Outcome.B_LESS), (B, A, Outcome.A_LESS)):
        verdict, gateway = judge(await measure(SimulatedMeter(1, {slow: 1.1})))
        assert gateway.effects["p50"].excludes_one
        assert verdict.outcome is outcome
        assert verdict.faster == fast
        # A queue in front makes more of a longer service: a tenth of it is a seventh of the latency here.
        assert verdict.percent == pytest.approx(15, abs=6)
        assert "is faster" in verdict.sentence
        cpu = gateway.effects["CPU per inference"]
        assert cpu.ratio == pytest.approx(1.1 if slow == B else 1 / 1.1, rel=0.05)


@pytest.mark.long
async def test_an_engine_against_itself_differs_in_two_runs_of_twenty_at_most() -> None:
    excluded = 0
    for seed in range(20):
        verdict, gateway = judge(await measure(SimulatedMeter(seed)))
        excluded += gateway.effects["p50"].excludes_one
        assert (verdict.faster is not None) <= gateway.effects["p50"].excludes_one
    print(f"{20 - excluded} of 20 intervals cover 1")
    assert excluded <= 2


async def test_the_order_is_capacity_warm_up_noise_and_pairs() -> None:
    meter = SimulatedMeter(3)
    await measure(meter)
    assert meter.asked[:4] == [A, B, A, B]
    noise, pairs = meter.asked[4:20], meter.asked[20:]
    assert noise == ([A] * 4 + [B] * 4) * 2
    assert len(pairs) == 16
    blocks = [tuple(pairs[at : at + 4]) for at in range(0, 16, 4)]
    assert set(blocks) <= {(A, B, B, A), (B, A, A, B)}


async def test_both_of_a_pair_get_the_same_arrivals_and_pairs_get_others() -> None:
    measured = await measure(SimulatedMeter(3))
    first, second = measured.gateway[:2]
    assert (first.a.due_s == first.b.due_s).all()
    assert first.a.due_s.tolist() != second.a.due_s.tolist()


async def test_the_warm_up_is_the_same_everywhere_and_left_out() -> None:
    measured = await measure(SimulatedMeter(3))
    assert 0.2 <= measured.warm_up_s <= 0.8
    assert all(trial.due_s.min() >= measured.warm_up_s for pair in measured.gateway for trial in (pair.a, pair.b))


async def test_without_a_wish_the_rate_is_half_of_what_the_slower_engine_can_do() -> None:
    measured = await measure(SimulatedMeter(3), rate_per_s=None)
    assert measured.rate_per_s == pytest.approx(min(measured.capacity_per_s.values()) / 2, rel=0.05)


async def test_a_slot_with_errors_takes_its_pair_with_it_and_is_told() -> None:
    measured = await measure(SimulatedMeter(3, broken=frozenset({21})))
    rejected = find_rejected(measured)
    assert [(r.where, r.number) for r in rejected] == [("gateway", 1)]
    assert "10 % errors" in rejected[0].why
    verdict, gateway = judge(measured)
    assert gateway.pairs == SIZES.pairs - 1
    assert verdict.outcome is Outcome.TOO_FEW


@pytest.mark.parametrize("name", ["gateway", "direct"])
def test_the_engines_own_part_is_a_metric_behind_the_gateway(name: str) -> None:
    """A tenth of the latency is the engine's, which is what differs."""
    due_s, latency_s = np.arange(0, 2, 0.01), np.full(200, 0.01)
    a, b = (
        replace(trial_of(due_s, latency_s, Load(2.0, 100.0)), timing=(f"upstream;dur={ms}, total;dur=9", "") * 100)
        for ms in (1.0, 1.5)
    )
    pairs = [PairOfTrials(a, b, order, ()) for order in ("ab", "ba") * 4]
    effects = compare_pairs(name, 8, pairs, 1).effects
    assert effects["p50"].ratio == pytest.approx(1)
    assert ("upstream" in effects) is (name == "gateway")
    if "upstream" in effects:
        assert effects["upstream"].ratio == pytest.approx(1.5)
        silent = Comparison(name, 8, 8, effects, ())
        assert find_verdict(silent, silent, *LABELS, "upstream", 100.0).sentence.startswith(
            "No difference beyond the noise in upstream latency at 100"
        )


def test_without_server_timing_nothing_is_said_of_the_engines_own_part() -> None:
    trial = trial_of(np.arange(0, 2, 0.01), np.full(200, 0.01), Load(2.0, 100.0))
    found = compare_pairs("gateway", 8, [PairOfTrials(trial, trial, order, ()) for order in ("ab", "ba") * 4], 1)
    assert found.effects["upstream"].pairs == 0
    assert find_verdict(found, found, *LABELS, "upstream", 100.0).outcome is Outcome.TOO_FEW


def test_what_a_place_in_the_pair_does_is_no_effect_even_after_rejections() -> None:
    """Who comes second takes twice as long; of twelve pairs, nine are left of one order and three of the other."""
    load = Load(2.0, 100.0)
    first, second = (trial_of(np.arange(0, 2, 0.01), np.full(200, latency_s), load) for latency_s in (0.01, 0.02))
    pairs = [PairOfTrials(first, second, "ab", ())] * 9 + [PairOfTrials(second, first, "ba", ())] * 3
    effect = compare_pairs("gateway", 12, pairs, 1).effects["p50"]
    assert effect.ratio == pytest.approx(1)
    assert effect.low == pytest.approx(1)


async def test_an_interruption_keeps_what_there_is() -> None:
    meter, interrupted = SimulatedMeter(3), asyncio.Event()

    class Watched:
        async def measure(self, subject: str, load: Load) -> Trial:
            if len(meter.asked) == 26:
                interrupted.set()
                await asyncio.Event().wait()  # a slot that never ends by itself
            return await meter.measure(subject, load)

    wish = Wish(3, slo_ms=25.0, rate_per_s=150.0)
    runner = Runner(Watched(), NAMES, SIZES, wish, lambda *_: None, interrupted)
    measured = await asyncio.wait_for(runner.run(), 10)
    assert measured.is_interrupted
    assert (len(measured.noise), len(measured.gateway)) == (8, 3)
    assert judge(measured)[0].outcome is Outcome.TOO_FEW


async def test_littles_law_holds_and_is_broken_by_latencies_that_are_not_true() -> None:
    measured = await measure(SimulatedMeter(3))
    side = describe_side(Side.A, LABELS[0], measured, Terms(1, None))
    assert side.balance is not None
    assert side.balance.holds
    assert side.balance.effect.ratio == pytest.approx(1, abs=0.05)
    for pair in measured.gateway:
        pair.a.latency_s[:] *= 0.5
    false = describe_side(Side.A, LABELS[0], measured, Terms(1, None)).balance
    assert false is not None
    assert not false.holds


async def test_a_search_that_has_no_time_left_says_so() -> None:
    measured = await measure(SimulatedMeter(3), replace(SIZES, slo_s=4.0, budget_s=2.0))
    assert measured.points == {Side.A: [], Side.B: []}
    capacity = describe_side(Side.A, LABELS[0], measured, Terms(1, None)).capacity
    assert capacity.is_cut_short
    assert len(measured.gateway) == SIZES.pairs


async def test_throughput_at_the_slo_and_its_price() -> None:
    sizes = Sizes(1.0, 1.0, 2, 2, 2, slo_s=4.0, fails_needed=1)
    measured = await measure(SimulatedMeter(3, {B: 2.0}, slot_noise=0.0, drift=0.0), sizes)
    terms = Terms(1, price_per_hour=0.9)
    fast, slow = (describe_side(side, LABELS[0], measured, terms).capacity for side in Side)
    assert fast.passed_per_s is not None
    assert fast.failed_per_s is not None
    assert slow.passed_per_s is not None
    assert 190 < fast.passed_per_s < fast.failed_per_s < 333  # one server, 3 ms a request
    assert fast.failed_per_s / fast.passed_per_s <= 1.03
    assert slow.passed_per_s < 0.55 * fast.passed_per_s
    assert fast.price_per_million == pytest.approx(0.9 / 3600 / fast.passed_per_s * 1e6)
    assert math.isclose(fast.price_per_million_at_least or 0, 0.9e6 / 3600 / fast.failed_per_s)
