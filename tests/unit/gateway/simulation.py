"""A made-up day of one batcher, on a clock of its own: clients, gateway and engine, a thread each, on some cores.

Each thread does one thing at a time, first come, first served; while more of them are busy than there are cores, each
is slower by as much. Whatever a thread does takes up to half more or less than usual, by dice that fall alike in each
run: without them the clients fall into step, and it is luck into which.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random
from typing import Protocol

from gateway.core.line import Line

GATEWAY_S = 0.1e-3
"""What a request costs the gateway: half of it before its batch, half after."""

Request = tuple[int, float]
"""Its number, and when it was sent."""


def engine_s(rows: int) -> float:
    """What a batch costs the engine: 1 ms, and 0.07 ms a row."""
    return 1e-3 + 0.07e-3 * rows


class Plan(Protocol):
    """What decides how many batches are out, and how large they are."""

    @property
    def rows_limit(self) -> int: ...
    def may_send(self, out: int, is_full: bool) -> bool: ...
    def observe(self, rows: int, seconds: float, out: int) -> None: ...


@dataclass(frozen=True)
class Fixed:
    """So many batches at once of so many rows, whatever happens."""

    in_flight: int
    rows_limit: int = 64

    def may_send(self, out: int, is_full: bool) -> bool:
        return out < self.in_flight

    def observe(self, rows: int, seconds: float, out: int) -> None:
        pass


@dataclass
class Day:
    """What came of it."""

    latencies_s: list[float] = field(default_factory=list)
    batch_rows: list[int] = field(default_factory=list)
    lasted_s: float = 0.0

    @property
    def answers_a_second(self) -> float:
        return len(self.latencies_s) / self.lasted_s

    def latency_ms(self, quantile: float) -> float:
        return 1e3 * sorted(self.latencies_s)[int(quantile * len(self.latencies_s))]


class _Thread:
    """What one thread has to do, in turn; `left_s` is what remains of the first."""

    def __init__(self, seed: int) -> None:
        self.left_s = 0.0
        self.tasks: deque[tuple[float, Callable[[], None]]] = deque()
        self._dice = Random(seed)

    def add(self, seconds: float, then: Callable[[], None]) -> None:
        seconds *= self._dice.uniform(0.5, 1.5)
        if not self.tasks:
            self.left_s = seconds
        self.tasks.append((seconds, then))

    def finish(self) -> None:
        _, then = self.tasks.popleft()
        if self.tasks:
            self.left_s = self.tasks[0][0]
        then()


class World:
    """Runs one plan, once. `client_s` is what a request costs the thread of the clients."""

    def __init__(self, plan: Plan, cores: int = 3, client_s: float = 0.0) -> None:
        self._plan, self._cores, self._client_s = plan, cores, client_s
        self._clients, self._gateway, self._engine = (_Thread(seed) for seed in (1, 2, 3))
        self._line: Line[Request] = Line()
        self._numbers = count()
        self._out = 0
        self._is_closed = False
        self._now_s = 0.0
        self._day = Day()

    def run_closed(self, clients: int, seconds: float) -> Day:
        """`clients` clients that send again as soon as they are answered."""
        self._is_closed = True
        for _ in range(clients):
            self._send()
        return self._run([], seconds)

    def run_open(self, arrivals_s: Sequence[float]) -> Day:
        """Requests at the times given, whoever waits."""
        return self._run(arrivals_s, arrivals_s[-1])

    def _run(self, arrivals_s: Sequence[float], until_s: float) -> Day:
        arrivals = iter([*arrivals_s, float("inf")])
        next_s = next(arrivals)
        while self._now_s < until_s:
            busy = [thread for thread in (self._clients, self._gateway, self._engine) if thread.tasks]
            speed = min(1.0, self._cores / max(1, len(busy)))
            step_s = min([next_s - self._now_s, *[thread.left_s / speed for thread in busy]])
            self._now_s += step_s
            for thread in busy:
                thread.left_s -= step_s * speed
                if thread.left_s <= 1e-12:
                    thread.finish()
            if self._now_s >= next_s:
                self._send()
                next_s = next(arrivals)
        self._day.lasted_s = self._now_s
        return self._day

    def _send(self) -> None:
        request = (next(self._numbers), self._now_s)
        self._clients.add(self._client_s, partial(self._reach, request))

    def _reach(self, request: Request) -> None:
        self._gateway.add(GATEWAY_S / 2, partial(self._wait, request))

    def _wait(self, request: Request) -> None:
        self._line.push(request, 1, 1, "images")
        self._dispatch()

    def _dispatch(self) -> None:
        limit = self._plan.rows_limit
        while self._line and self._plan.may_send(self._out, self._line.full(limit)):
            self._out += 1
            batch = [request for request, _, _ in self._line.take(limit)]
            returned = partial(self._returned, batch, self._now_s, self._out)
            self._engine.add(engine_s(len(batch)), partial(self._gateway.add, 0.0, returned))

    def _returned(self, batch: list[Request], sent_s: float, out: int) -> None:
        self._out -= 1
        self._plan.observe(len(batch), self._now_s - sent_s, out)
        self._day.batch_rows.append(len(batch))
        self._dispatch()
        for request in batch:
            self._gateway.add(GATEWAY_S / 2, partial(self._answered, request))

    def _answered(self, request: Request) -> None:
        self._day.latencies_s.append(self._now_s - request[1])
        if self._is_closed:
            self._send()
