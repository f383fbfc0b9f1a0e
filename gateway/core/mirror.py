"""Copies of answered requests go to the other engine, and the two answers are compared.

Rules: after the client's answer is complete, never before; the client is neither delayed nor told. Bounded, and the
first thing that is dropped: a copy is made only while nothing waits for the engine that would get it. The shares are
exact, not drawn. The last mismatches are kept with their inputs, for inspection. While a canary runs, a share of what
its version answers is copied whatever the routing says: its engines must agree under real traffic too.
Must not know what is done about a mismatch.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.agreement import Tolerance, find_difference, max_abs_diff
from gateway.core.counts import Ledger
from gateway.core.errors import ServingError
from gateway.core.leases import hold_all
from gateway.core.messages import InferAnswer, InferRequest
from gateway.core.ports import Events
from gateway.core.router import Lane, ModelRoute, VersionRoute
from gateway.core.tensors import Tensor, count_bytes

log = logging.getLogger(__name__)

MATCH, MISMATCH, ERROR, DROPPED = "match", "mismatch", "error", "dropped"


@dataclass(frozen=True, slots=True)
class MirrorLimits:
    """Copies under way at once, seconds for one, mismatches kept, bytes kept of each, and a canary's share.

    `tolerance` says how far a copy may be off what the client got.
    """

    in_flight: int = 32
    timeout_s: float = 10.0
    kept: int = 16
    kept_bytes: int = 256 * 1024
    canary_share: float = 0.25
    tolerance: Tolerance = field(default_factory=Tolerance)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Two engines that disagree. `at` in Unix seconds; inputs and outputs are {} where they were too large to keep."""

    at: float
    model: str
    version: int
    answered_by: str
    mirrored_to: str
    problem: str
    inputs: Mapping[str, Tensor]
    answer: Mapping[str, Tensor]
    copy: Mapping[str, Tensor]


class Mirror:
    """Makes copies, and remembers what came of them."""

    def __init__(self, ledger: Ledger, events: Events, limits: MirrorLimits) -> None:
        self._ledger = ledger
        self._events = events
        self._limits = limits
        self._due: dict[tuple[str, int, str], float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._mismatches: deque[Mismatch] = deque(maxlen=limits.kept)

    @property
    def mismatches(self) -> tuple[Mismatch, ...]:
        """The last ones, oldest first."""
        return tuple(self._mismatches)

    def offer(
        self, model: ModelRoute, route: VersionRoute, request: InferRequest, rows: int, answer: InferAnswer
    ) -> None:
        """Consider an answered request of `rows` rows. Returns at once and never raises."""
        is_canary = model.canary is not None and model.canary.version == route.version
        if not model.mirror and not is_canary:
            return
        for engine, lanes in route.lanes.items():
            share = max(model.mirror.get(engine, 0.0), self._limits.canary_share if is_canary else 0.0)
            if engine == answer.engine or not self._is_due((model.name, route.version, engine), share):
                continue
            lane = lanes[0] if len(lanes) == 1 else min(lanes, key=lambda one: one.workload.cost)
            if len(self._tasks) >= self._limits.in_flight or lane.batcher.queued_rows:
                self._events.mirrored(model.name, route.version, DROPPED, None)
                continue
            task = asyncio.get_running_loop().create_task(self._try_copy(lane, request, rows, answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Drop what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _is_due(self, key: tuple[str, int, str], share: float) -> bool:
        due = self._due.get(key, 0.0) + share
        self._due[key] = due - 1 if due >= 1 else due
        return due >= 1

    async def _try_copy(self, lane: Lane, request: InferRequest, rows: int, answer: InferAnswer) -> None:
        """The client is answered, so whatever happens here ends in the log and the metrics."""
        try:
            await self._copy(lane, request, rows, answer)
        except Exception:
            log.exception("a bug kept a copy for %s from being compared", lane.engine)
            self._events.mirrored(answer.model, answer.version, ERROR, None)

    async def _copy(self, lane: Lane, request: InferRequest, rows: int, answer: InferAnswer) -> None:
        deadline = asyncio.get_running_loop().time() + self._limits.timeout_s
        try:
            with hold_all((lane.leases,)):
                served = await lane.batcher.submit(request.inputs, rows, deadline)
        except ServingError as error:
            log.info("a copy for %s was not answered: %s", lane.engine, error.message)
            self._events.mirrored(answer.model, answer.version, ERROR, None)
            return
        copy = {name: served.outputs[name] for name in answer.outputs if name in served.outputs}
        problem = find_difference(answer.outputs, copy, self._limits.tolerance)
        counts = self._ledger.of(answer.model, answer.version)
        counts.copies += 1
        counts.mismatches += bool(problem)
        result = MISMATCH if problem else MATCH
        self._events.mirrored(answer.model, answer.version, result, max_abs_diff(answer.outputs, copy))
        if problem:
            self._keep(lane.engine, request, answer, copy, problem)

    def _keep(
        self, engine: str, request: InferRequest, answer: InferAnswer, copy: Mapping[str, Tensor], problem: str
    ) -> None:
        tensors = (*request.inputs.values(), *answer.outputs.values(), *copy.values())
        is_small = sum(map(count_bytes, tensors)) <= self._limits.kept_bytes
        self._mismatches.append(
            Mismatch(
                at=time.time(),
                model=answer.model,
                version=answer.version,
                answered_by=answer.engine,
                mirrored_to=engine,
                problem=problem,
                inputs=_own(request.inputs) if is_small else {},
                answer=_own(answer.outputs) if is_small else {},
                copy=_own(copy) if is_small else {},
            )
        )


def _own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies, so that a row kept for inspection does not keep its whole batch in memory."""
    return {name: tensor.copy() for name, tensor in tensors.items()}
