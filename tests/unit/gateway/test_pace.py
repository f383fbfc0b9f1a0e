"""How many batches go, and how large they may be."""

from collections.abc import Callable, Iterator
from itertools import cycle
from random import Random

import pytest

from gateway.core.pace import BatchCost, Bounds, Pace
from tests.unit.gateway.simulation import Day, Fixed, World

MS = 1e-3


@pytest.mark.parametrize(
    ("at_once", "most", "out", "is_full", "may_send", "why"),
    [
        (1, 2, 0, False, True, "idle: at once, however small"),
        (1, 2, 1, False, False, "a second one gathers first"),
        (1, 2, 1, True, True, "until it is full"),
        (1, 2, 2, True, False, "all are out"),
        (2, 3, 1, False, True, "an engine with two workers has one to spare"),
        (2, 3, 2, False, False, "and now has none"),
        (2, 3, 2, True, True, "a full one may wait there"),
        (1, 1, 1, True, False, "never more than one"),
    ],
)
def test_when_a_batch_may_go(at_once: int, most: int, out: int, is_full: bool, may_send: bool, why: str) -> None:
    assert Pace(Bounds(at_once, most)).may_send(out, is_full) is may_send, why


@pytest.mark.parametrize(
    "bounds",
    [
        lambda: Bounds(at_once=0),
        lambda: Bounds(at_once=3, most_in_flight=2),
        lambda: Bounds(most_rows=0),
        lambda: Bounds(latency_target_s=0),
    ],
)
def test_bounds_that_cannot_be_are_refused(bounds: Callable[[], Bounds]) -> None:
    with pytest.raises(ValueError, match="expected"):
        bounds()


@pytest.mark.parametrize(
    ("sizes", "row_ms", "fixed_ms", "learnt_ms", "why"),
    [
        ([1, 64, 8, 32], 0.07, 1.0, (0.07, 1.0), "sizes differ: both parts"),
        ([1, 2, 3], 10.0, 0.0, (10.0, 0.0), "rows are all there is"),
        ([1, 40, 80], 0.0, 5.0, (0.0, 5.0), "rows cost nothing"),
        ([10, 10, 10], 0.1, 1.0, (0.2, 0.0), "equal sizes: the mean, as if all of it grew with the rows"),
        ([64, 63, 64], 0.1, 1.6, (0.125, 0.0), "nearly equal: no better"),
        ([1, 40, 80], -0.01, 5.0, (0.0, 4.6), "no row saves time"),
        ([10, 20, 30], 1.0, -5.0, (0.75, 0.0), "no batch starts with time saved"),
    ],
)
def test_the_cost_of_a_batch_is_fitted(
    sizes: list[int], row_ms: float, fixed_ms: float, learnt_ms: tuple[float, float], why: str
) -> None:
    cost = BatchCost()
    for _, rows in zip(range(300), cycle(sizes), strict=False):
        cost.learn(rows, (row_ms * rows + fixed_ms) * MS)
    assert (cost.row_s / MS, cost.fixed_s / MS) == pytest.approx(learnt_ms, rel=0.02, abs=0.002), why


def test_equal_batches_for_ever_keep_what_was_learnt_of_the_rows() -> None:
    cost = BatchCost()
    for rows in [1, 64, 16, 32] * 10 + [64] * 10_000:
        cost.learn(rows, (0.07 * rows + 1) * MS)
    assert cost.predict_s(1) == pytest.approx(1.07 * MS, rel=0.02)
    assert cost.predict_s(64) == pytest.approx(5.48 * MS)


def test_the_latest_batches_count() -> None:
    cost = BatchCost()
    for slowness in (1, 10, 0.5):
        for rows in [1, 64, 16, 32] * 40:
            cost.learn(rows, slowness * (0.07 * rows + 1) * MS)
        assert cost.predict_s(64) == pytest.approx(slowness * 5.48 * MS, rel=0.02)


class Engine:
    """Answers full batches, all that may be out at once; each takes as long as all of them."""

    def __init__(self, bounds: Bounds, cost_ms: Callable[[int], float], noise: float = 0.0) -> None:
        self.pace = Pace(bounds)
        self._out = bounds.most_in_flight
        self._cost_ms = cost_ms
        self._noise = noise
        self._dice = Random(5)

    def answer(self, batches: int, stall_s: float = 0.0) -> list[int]:
        """The limits after each."""
        return [*self._limits(batches, stall_s)]

    def _limits(self, batches: int, stall_s: float) -> Iterator[int]:
        for _ in range(batches):
            rows = self.pace.rows_limit
            alone_s = self._cost_ms(rows) * MS * self._dice.lognormvariate(0, self._noise)
            self.pace.observe(rows, self._out * alone_s + stall_s, self._out)
            yield self.pace.rows_limit


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize(
    ("cost_ms", "most_rows", "least", "most", "why"),
    [
        (lambda n: 1 + 0.07 * n, 64, 64, 64, "fast enough for all that is allowed"),
        (lambda n: 1 + 0.07 * n, 512, 120, 260, "two of them in a third of 100 ms: (16.7 - 1) / 0.07 = 223"),
        (lambda n: 5 + 0.01 * n, 512, 512, 512, "an accelerator"),
        (lambda n: 2 + n, 64, 10, 22, "(16.7 - 2) / 1 = 14"),
        (lambda n: 2 + 10 * n, 64, 1, 3, "slow rows"),
        (lambda n: 1 + 100 * n, 64, 1, 3, "a row alone is over the target"),
        (lambda n: 50 + 0.1 * n, 64, 32, 64, "a batch is, whatever its rows: fewer would help nobody"),
        (
            lambda n: 1 + 0.07 * n + (50 if n > 40 else 0),
            64,
            15,
            44,
            "slow beyond 40 rows: no line tells, the breaches do",
        ),
    ],
)
def test_the_limit_settles(
    cost_ms: Callable[[int], float], most_rows: int, least: int, most: int, why: str, noise: float
) -> None:
    engine = Engine(Bounds(most_rows=most_rows), cost_ms, noise)
    engine.answer(100)
    limits = sorted(engine.answer(200))
    assert least <= limits[20] <= limits[-21] <= most, f"{why}: eight times in ten, whatever the noise"


@pytest.mark.parametrize("stall_s", [0.1, 30.0])
def test_a_stall_of_the_machine_changes_next_to_nothing(stall_s: float) -> None:
    engine = Engine(Bounds(), lambda n: 1 + 0.07 * n)
    assert engine.answer(50)[-1] == 64
    limits = engine.answer(2, stall_s) + engine.answer(20)  # both that are out
    assert min(limits) >= 32
    assert limits[-1] == 64


def test_there_is_one_decrease_for_a_round_of_late_batches_and_the_way_back_is_short() -> None:
    slowness = 1.0
    engine = Engine(Bounds(), lambda n: slowness * (2 + 0.1 * n))
    engine.answer(50)
    slowness = 4.0  # 2 * 4 * 8.4 ms are over a third of 100 ms
    assert engine.answer(2) == [64, 64], "two were out when it happened"
    assert engine.answer(3) == [32, 32, 32]
    engine.answer(50)
    slowness = 1.0
    assert engine.answer(40)[-1] == 64


def test_what_the_limit_did_not_shape_does_not_move_it() -> None:
    pace = Pace(Bounds())
    for rows in (1, 8) * 20:
        pace.observe(rows, (1 + 0.07 * rows) * MS, 1)
    assert pace.rows_limit == 32, "small batches do not raise it"
    for _ in range(20):
        pace.observe(500, 36 * MS, 1)
    assert pace.rows_limit == 32, "one that could not be cut does not lower it"


def test_the_time_of_a_batch_is_predicted_with_those_that_share_the_engine() -> None:
    pace = Pace(Bounds(at_once=2, most_in_flight=4))
    assert pace.predict_s(10) == 0, "nothing is known"
    for rows, out in ((1, 1), (10, 2), (30, 4)) * 20:
        pace.observe(rows, (1 + 0.1 * rows) * MS * max(1, out / 2), out)
    predicted = [pace.predict_s(20, out) / MS for out in (1, 2, 3, 4)]
    assert predicted == pytest.approx([3, 3, 4.5, 6], rel=0.01), "two workers"


ROOMY = (3, 0.0)
CROWDED = (2, 0.05 * MS)


@pytest.mark.parametrize("machine", [ROOMY, CROWDED], ids=["a core for each", "two cores, the clients share them too"])
@pytest.mark.parametrize(("clients", "best"), [(16, 1), (64, 1), (256, 2)])
def test_the_pace_keeps_up_with_the_fixed_plan_that_suits_the_load(
    machine: tuple[int, float], clients: int, best: int
) -> None:
    def rate(plan: Fixed | Pace) -> float:
        return World(plan, *machine).run_closed(clients, 0.2).answers_a_second

    fixed = {in_flight: rate(Fixed(in_flight)) for in_flight in (1, 2)}
    assert max(fixed, key=lambda in_flight: fixed[in_flight]) == best, "as measured on the real platform"
    assert rate(Pace(Bounds())) > 0.99 * fixed[best]


@pytest.mark.parametrize(("load", "most_of_median"), [(0.5, 0.7), (0.9, 0.9)])
def test_below_saturation_requests_wait_less_than_with_two_fixed(load: float, most_of_median: float) -> None:
    dice = Random(1)
    arrivals_s = [0.0]
    while arrivals_s[-1] < 0.3:
        arrivals_s.append(arrivals_s[-1] + dice.expovariate(load * 9_900))  # what 256 clients get, of either

    def run(plan: Fixed | Pace) -> Day:
        return World(plan).run_open(arrivals_s)

    pace, fixed = run(Pace(Bounds())), run(Fixed(2))
    assert pace.latency_ms(0.5) < most_of_median * fixed.latency_ms(0.5)
    assert pace.latency_ms(0.99) < 1.05 * fixed.latency_ms(0.99), "the tail is made by bursts, for both"
