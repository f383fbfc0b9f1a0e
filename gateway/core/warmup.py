"""A version that an endpoint has loaded is warmed and checked before anybody is sent to it.

Rules: the golden inputs are asked in batches of growing size, up to the largest the gateway sends, and every answer
must be the known one. Of several gateway processes one does that, each of the others asks for a single row: nobody is
promoted to a new version before all of them are done. A wrong answer is final until the engine loads the version anew;
a failure is tried again later. Must not know what routing makes of a verdict.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from gateway.core.agreement import Tolerance, find_difference
from gateway.core.errors import EngineUnreachable, ServingError, VersionLost
from gateway.core.lifecycle import LaneKey, States
from gateway.core.messages import EngineBatch
from gateway.core.ports import Engine, Observed, Repository, VersionState
from gateway.core.published import Golden
from gateway.core.tensors import Signature, Tensor

log = logging.getLogger(__name__)

_LONGEST_REST_S = 0.1
_MOMENT_S = 0.25


@dataclass(frozen=True, slots=True)
class WarmupLimits:
    """Bounds of a warm-up: the largest batch, seconds for one answer, seconds until a failed one is tried again.

    `tolerance` says how far an answer may be off the golden one.
    """

    batch_rows: int = 64
    answer_timeout_s: float = 30.0
    retry_s: float = 2.0
    tolerance: Tolerance = field(default_factory=Tolerance)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a version is warmed. `is_gentle` leaves the engine to its clients for two thirds of the time; `is_brief` asks
    for one row only, because another gateway process asks for all sizes.
    """

    is_gentle: bool = False
    is_brief: bool = False


@dataclass(frozen=True, slots=True)
class _Verdict:
    reason: str
    is_final: bool
    at: float
    is_of_endpoint: bool = False


class Warmups:
    """The warm-ups under way and their results, by version on endpoint."""

    def __init__(self, repository: Repository, limits: WarmupLimits) -> None:
        self._repository = repository
        self._limits = limits
        self._tasks: dict[LaneKey, asyncio.Task[_Verdict]] = {}

    async def judge(
        self,
        engine: Engine,
        held: States,
        find_signature: Callable[[tuple[str, int]], Signature | None],
        manner: Manner,
    ) -> States:
        """What to think of all that an endpoint says it holds, within a moment; most warm-ups end at once.

        `find_signature` knows those of the versions that are to be warmed.
        """
        loaded = [key for key, seen in held.items() if seen.state is VersionState.READY]
        self.keep_only(engine.endpoint, frozenset(loaded))
        for key in loaded:
            if (signature := find_signature(key)) is not None:
                self.state(engine, *key, signature, manner)
        running = [task for key, task in self._tasks.items() if key.endpoint == engine.endpoint and not task.done()]
        if running:
            await asyncio.wait(running, timeout=_MOMENT_S)
        judged = {
            key: self.state(engine, *key, signature, manner)
            for key in loaded
            if (signature := find_signature(key)) is not None
        }
        return {**held, **judged}

    def state(
        self, engine: Engine, model: str, version: int, signature: Signature, manner: Manner | None = None
    ) -> Observed:
        """What to think of a version that the engine itself reports ready. Begins a warm-up when there was none."""
        key = LaneKey(engine.endpoint, model, version)
        task = self._tasks.get(key)
        if task is None or task.cancelled():  # no engine should end it so, but the keeper would die of one that does
            task = self._tasks[key] = asyncio.get_running_loop().create_task(
                self._run(engine, key, signature, manner or Manner())
            )
        if not task.done():
            return Observed(VersionState.WARMING)
        verdict = task.result()
        if not verdict.reason:
            return Observed(VersionState.READY)
        if not verdict.is_final and asyncio.get_running_loop().time() - verdict.at > self._limits.retry_s:
            del self._tasks[key]
        return Observed(VersionState.ERROR, verdict.reason, verdict.is_of_endpoint)

    def keep_only(self, endpoint: str, loaded: frozenset[tuple[str, int]]) -> None:
        """Forget what an endpoint does not hold any more: it will be warmed again when it is back."""
        for key in tuple(self._tasks):
            if key.endpoint == endpoint and (key.model, key.version) not in loaded:
                self.forget(key)

    def forget(self, key: LaneKey) -> None:
        """Warm this one again when it is next reported ready."""
        if task := self._tasks.pop(key, None):
            task.cancel()

    async def close(self) -> None:
        """End what is under way."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _run(self, engine: Engine, key: LaneKey, signature: Signature, manner: Manner) -> _Verdict:
        loop = asyncio.get_running_loop()
        try:
            golden = await self._repository.read_golden(key.model, key.version)
            if golden is not None:
                largest = self._limits.batch_rows if signature.is_batchable and not manner.is_brief else 1
                for rows in batch_sizes(largest):
                    started = loop.time()
                    await self._ask(engine, key, golden, rows, signature.is_batchable)
                    if manner.is_gentle:
                        await rest(loop.time() - started)
        except _WrongAnswer as error:
            return _Verdict(str(error), True, loop.time())
        except ServingError as error:
            # Not even a broken connection speaks for certain against the engine: this version may kill its worker.
            is_of_endpoint = isinstance(error, EngineUnreachable) and not isinstance(error, VersionLost)
            return _Verdict(f"its warm-up failed: {error.message}", False, loop.time(), is_of_endpoint)
        except Exception as error:
            log.exception("the warm-up of %s broke", key)
            return _Verdict(f"its warm-up broke: {error!r}", False, loop.time())
        return _Verdict("", True, loop.time())

    async def _ask(self, engine: Engine, key: LaneKey, golden: Golden, rows: int, is_batchable: bool) -> None:
        inputs, expected = golden.inputs, golden.outputs
        if is_batchable:
            inputs, expected = tile(inputs, rows), tile(expected, rows)
        deadline = asyncio.get_running_loop().time() + self._limits.answer_timeout_s
        outputs = await engine.infer(EngineBatch(key.model, key.version, inputs, deadline))
        problem = find_difference(expected, outputs, self._limits.tolerance)
        if problem:
            raise _WrongAnswer(f"{engine.name} answers its golden inputs wrongly: {problem}")


async def rest(worked_s: float) -> None:
    """Leave the machine to clients for twice as long as work took that is not for them."""
    await asyncio.sleep(min(2 * worked_s, _LONGEST_REST_S))


class _WrongAnswer(Exception):
    pass


def batch_sizes(largest: int) -> Iterator[int]:
    """1, 2, 4 … up to the largest, which is the last."""
    rows = 1
    while rows < largest:
        yield rows
        rows *= 2
    yield largest


def tile(tensors: Mapping[str, Tensor], rows: int) -> dict[str, Tensor]:
    """The first `rows` rows, beginning again from the first when there are fewer."""
    return {name: np.resize(tensor, (rows, *tensor.shape[1:])) for name, tensor in tensors.items()}
