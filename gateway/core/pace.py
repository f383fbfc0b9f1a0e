"""How many batches of one version may be out at one engine, and how many rows each may have: learnt, no clock.

Rules: a batch goes at once, however small, while fewer are out than the engine computes side by side. Up to
`most_in_flight` go only when waiting would not make them larger: they keep the engine fed while the gateway reads and
answers, but a small one would only take its place from the larger one that gathers meanwhile. So the number of batches
out follows the load, and there is nothing to learn about it. None takes all there is: parts of it are computed while
others are read and answered.

A batch should take a third of the latency that is aimed at: a request waits for the end of one at most, then for its
own, and a third is left for everything else. How many rows that is comes from a fitted cost, and from what really
happened: additive increase, multiplicative decrease (Chiu and Jain 1989, "Analysis of the increase and decrease
algorithms for congestion avoidance in computer networks"; for batches, Crankshaw et al. 2017, "Clipper").

Must not know a clock, an event loop or what waits (line.py). The same batches give the same decisions.
"""

from dataclasses import dataclass

_MEMORY_BATCHES = 16
"""After so many batches an observation counts for a third of a new one."""
_LARGEST_SURPRISE = 4.0
"""A batch counts as at most so many times what was predicted: a machine that stalls says nothing about rows."""
_FIRST_ROWS = 32
"""The limit before anything is known."""
_UNSURE_BATCHES = 8
"""So many batches are too few to be bound by; the very first pays for what an engine makes once, and is not counted."""
_LEAST_SPREAD = 1 / 8
"""Batches whose sizes differ by less than this part of their mean say nothing about what a row costs."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the pace keeps to.

    `at_once` batches go however small (the engine's workers), `most_in_flight` when full; a batch has at most
    `most_rows` rows; `latency_target_s` is what clients should see. Raises ValueError for what cannot be.
    """

    at_once: int = 1
    most_in_flight: int = 2
    most_rows: int = 64
    latency_target_s: float = 0.1

    def __post_init__(self) -> None:
        if not 1 <= self.at_once <= self.most_in_flight:
            raise ValueError(f"expected 1 <= at_once <= most_in_flight, got {self.at_once} and {self.most_in_flight}")
        if self.most_rows < 1 or self.latency_target_s <= 0:
            raise ValueError(f"expected rows and seconds above 0, got {self.most_rows} and {self.latency_target_s}")


class BatchCost:
    """A batch alone on the engine takes `row_s` · rows + `fixed_s`: least squares over the latest batches.

    Kept as means, variance and covariance about the means, all forgotten exponentially, which neither overflows nor
    cancels out. Both parts of the cost are at least 0. While all batches have equal size, only their mean time is
    learnt; which part of it grows with the rows stays as it was, at first all of it.
    """

    def __init__(self) -> None:
        self._weight = 0.0
        self._rows = 0.0
        self._seconds = 0.0
        self._variance = 0.0
        self._covariance = 0.0
        self._growing_part = 1.0

    @property
    def is_known(self) -> bool:
        """Whether any batch was seen."""
        return self._weight > 0

    @property
    def row_s(self) -> float:
        """What a row adds."""
        return self._growing_part * self._seconds / self._rows if self._rows else 0.0

    @property
    def fixed_s(self) -> float:
        """What a batch costs however few rows it has."""
        return (1 - self._growing_part) * self._seconds

    def predict_s(self, rows: float) -> float:
        """How long a batch of so many rows takes alone; 0 while nothing is known."""
        return self.row_s * rows + self.fixed_s

    def learn(self, rows: int, seconds: float) -> None:
        """A batch of `rows` rows took `seconds`, its share of the engine reckoned."""
        if self.is_known:
            seconds = min(seconds, _LARGEST_SURPRISE * self.predict_s(rows))
        # West 1979, "Updating mean and variance estimates", with every weight fading
        fade = 1 - 1 / _MEMORY_BATCHES
        self._weight = self._weight * fade + 1
        gain = 1 / self._weight
        d_rows, d_seconds = rows - self._rows, seconds - self._seconds
        self._rows += gain * d_rows
        self._seconds += gain * d_seconds
        self._variance = (1 - gain) * (self._variance + gain * d_rows * d_rows)
        self._covariance = (1 - gain) * (self._covariance + gain * d_rows * d_seconds)
        if self._variance > (_LEAST_SPREAD * self._rows) ** 2 and self._seconds > 0:
            slope = self._covariance / self._variance
            self._growing_part = min(1.0, max(0.0, slope * self._rows / self._seconds))


class Pace:
    """The pace of the batches for one version on one engine."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._batch_target_s = bounds.latency_target_s / 3
        self._step_rows = max(1, bounds.most_rows // 16)
        self._cost = BatchCost()
        self._allowed_rows = self._rows_limit = min(_FIRST_ROWS, bounds.most_rows)
        self._paying_rows = 1
        self._breaches = 0
        self._seen = 0

    @property
    def rows_limit(self) -> int:
        """The most rows of the next batch: what late batches have left it, within what the fitted cost allows."""
        return self._rows_limit

    def limit_among(self, present: int) -> int:
        """The most rows of the next batch when `present` wait or are out.

        Nobody's batch is all there is: while the engine computes one part, the gateway reads and answers the other.
        Parts are equal, but never so small that the batch itself costs more than its rows.
        """
        if self._seen <= _UNSURE_BATCHES:
            return self._rows_limit
        return min(self._rows_limit, max(-(-present // self._bounds.most_in_flight), self._paying_rows))

    def may_send(self, out: int, is_full: bool) -> bool:
        """Whether a batch may go while `out` are out; `is_full`: waiting would not make it larger."""
        return out < (self._bounds.most_in_flight if is_full else self._bounds.at_once)

    def predict_s(self, rows: int, out: int = 1) -> float:
        """How long a batch of so many rows takes, the last of `out` that are out; 0 while nothing is known."""
        return self._cost.predict_s(rows) * self._sharing(out)

    def observe(self, rows: int, seconds: float, out: int) -> None:
        """An engine answered a batch of `rows` rows after `seconds`; `out` were out when it was sent, it included."""
        self._seen += 1
        if self._seen == 1:
            return
        self._cost.learn(rows, seconds / self._sharing(out))
        # A batch that the limit did not shape says nothing about the limit: one much smaller, or an uncuttable one.
        if self._rows_limit * 3 <= rows * 4 and rows <= self._bounds.most_rows:
            self._judge(seconds > self._batch_target_s, out)
        self._rows_limit = min(self._allowed_rows, self._bound_rows())
        self._paying_rows = self._least_rows()

    def _judge(self, is_breach: bool, out: int) -> None:
        self._breaches = self._breaches + 1 if is_breach else 0
        if self._breaches > out:
            # A machine that stalls makes all late that are out, once. Here one that was sent after the first of them
            # came back is late too, so it is the size; and there is one decrease for each such round.
            self._breaches = 0
            self._allowed_rows = max(self._rows_limit // 2, self._least_rows())
        elif not is_breach and self._allowed_rows <= self._rows_limit:
            self._allowed_rows = min(self._allowed_rows + self._step_rows, self._bounds.most_rows)

    def _sharing(self, out: int) -> float:
        """How many times as long a batch takes as alone, when the engine has `out` to share itself among."""
        return max(1.0, out / self._bounds.at_once)

    def _bound_rows(self) -> int:
        if self._seen <= _UNSURE_BATCHES:
            return self._bounds.most_rows
        alone_s = self._batch_target_s / self._sharing(self._bounds.most_in_flight)
        return max(self._count_rows(alone_s), self._least_rows())

    def _least_rows(self) -> int:
        """Rows that cost as much as the batch itself: where a target cannot be met, fewer would make all later."""
        return self._count_rows(2 * self._cost.fixed_s)

    def _count_rows(self, seconds: float) -> int:
        """The most rows, from 1 to most_rows, of a batch that alone takes at most so long by the fitted cost."""
        row_s, room_s = self._cost.row_s, seconds - self._cost.fixed_s
        if room_s >= row_s * self._bounds.most_rows:
            return self._bounds.most_rows
        return max(1, int(room_s / row_s)) if room_s > 0 else 1
