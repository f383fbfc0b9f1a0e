"""How much longer a version takes than another, on one engine: the same batch on both, in turns.

Rules: taken in pairs, so that a busy machine is busy for both; the median of the ratios counts. A version to compare
with that cannot be asked is no fault of the other.
"""

import asyncio
import logging
import statistics
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter

from gateway.core.errors import ServingError
from gateway.core.messages import EngineBatch
from gateway.core.ports import Engine
from gateway.core.tensors import Tensor
from gateway.core.warmup import rest

log = logging.getLogger(__name__)

COMPARED_ROWS = 8
_PAIRS = 5
_TIMEOUT_S = 30.0


async def measure_slowdown(
    engine: Engine,
    model: str,
    versions: tuple[int, int],
    inputs: Mapping[str, Tensor],
    after_each: Callable[[], Awaitable[None]],
) -> float | None:
    """How many times as long the second of `versions` takes as the first; None when the first cannot be asked.

    `after_each` is awaited after each pair. Raises ServingError when the second does not answer.
    """
    before, new = versions
    ratios = []
    for _ in range(_PAIRS):
        try:
            before_s = await _time(engine, model, before, inputs)
        except ServingError as error:
            log.info("%s version %d on %s cannot be compared with: %s", model, before, engine.name, error.message)
            return None
        new_s = await _time(engine, model, new, inputs)
        ratios.append(new_s / before_s)
        await rest(before_s + new_s)
        await after_each()
    return statistics.median(ratios)


async def _time(engine: Engine, model: str, version: int, inputs: Mapping[str, Tensor]) -> float:
    deadline = asyncio.get_running_loop().time() + _TIMEOUT_S
    started = perf_counter()
    await engine.infer(EngineBatch(model, version, inputs, deadline))
    return perf_counter() - started
