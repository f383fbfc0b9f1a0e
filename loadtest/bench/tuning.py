"""TorchServe at its best: which batch size and batch delay, for a number of connections."""

from collections.abc import Callable, Mapping

from loadtest.bench.cases import Case, TargetName
from loadtest.bench.meter import Meter
from loadtest.bench.stage import USUAL, Stage
from loadtest.bench.targets import Batching

SIZES = (32, 64, 128)
DELAYS_MS = (1, 2, 5)
_FIRST_DELAY_MS = 2

Try = Callable[[Batching], float]


def find_best(try_one: Try, *, is_quick: bool) -> tuple[Batching, Mapping[Batching, float]]:
    """The settings with the largest throughput, and what each that was tried reached.

    All nine are tried; `is_quick`: the sizes at one delay, then the other delays at the best size.
    """
    tried: dict[Batching, float] = {}
    first = [Batching(size, delay) for size in SIZES for delay in ((_FIRST_DELAY_MS,) if is_quick else DELAYS_MS)]
    for batching in first:
        tried[batching] = try_one(batching)
    size = max(tried, key=tried.__getitem__).size
    for batching in (Batching(size, delay) for delay in DELAYS_MS):
        if batching not in tried:
            tried[batching] = try_one(batching)
    return max(tried, key=tried.__getitem__), tried


def tune(stage: Stage, meter: Meter, connections: int, seconds: int, *, is_quick: bool) -> Mapping[Batching, float]:
    """Search, note what is best in the stage, and unload the rest; requests a second of each that was tried."""
    case = Case(TargetName.TORCHSERVE, connections=connections)

    def try_one(batching: Batching) -> float:
        return meter.run(case, stage.torchserve(case, batching), seconds, warmup_s=1).requests_per_s

    # The virtual machine compiles as it goes: whatever was tried first would look slow.
    meter.run(case, stage.torchserve(case, USUAL), 2 * seconds, warmup_s=1)
    best, tried = find_best(try_one, is_quick=is_quick)
    stage.best[connections] = best
    for batching in {USUAL, *tried} - set(stage.best.values()):
        stage.alone.forget(batching)
    return tried
