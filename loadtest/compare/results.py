"""What a comparison leaves: one document, which the page is made of and which has every number on it.

Times are in the unit that a name ends with. `a` and `b` are the two engines, and ratios are always B over A.
"""

from collections.abc import Mapping

import msgspec

from loadtest.bench.machine import Machine
from loadtest.compare.slo import LoadPoint
from loadtest.compare.stages import Decomposition
from loadtest.compare.statistics import Effect, Outcome, Quantile
from loadtest.compare.timeline import SwapTimeline
from loadtest.factors.rows import Row

FORMAT = 1


class CannotRead(ValueError):
    """A document is no result of a comparison; the message says why."""


class Label(msgspec.Struct, frozen=True):
    """An engine, and what answers as it."""

    engine: str
    implementation: str

    @property
    def text(self) -> str:
        """As it is shown: the implementation too, wherever it is not named as the engine is."""
        return self.engine if self.engine == self.implementation else f"{self.engine} ({self.implementation})"


class Settings(msgspec.Struct, frozen=True):
    """What was asked for, and what the rules made of it. `rate_per_s` is the load of all pairs."""

    url: str
    model: str
    version: int
    seed: int
    is_quick: bool
    metric: str
    slo_ms: float
    price_per_hour: float | None
    slot_s: float
    warm_up_s: float
    rate_per_s: float
    capacity_per_s: Mapping[str, float]
    requests_from: str


class Rejected(msgspec.Struct, frozen=True):
    """A slot that does not count, with its whole pair; or a trial of the load's search whose generator was late."""

    where: str
    number: int
    subject: str
    why: str


class Comparison(msgspec.Struct, frozen=True):
    """Pairs of one kind. `effects`: by metric, B over A; `orders`: who went first in each pair, "ab" or "ba"."""

    name: str
    planned_pairs: int
    pairs: int
    effects: Mapping[str, Effect]
    orders: tuple[str, ...]


class Balance(msgspec.Struct, frozen=True):
    """Little's law over the slots: answers owed, as arrivals saw them, against rate times mean time since sent."""

    seen: float
    expected: float
    effect: Effect
    holds: bool


class Costs(msgspec.Struct, frozen=True):
    """What answering takes, per 1,000 inferences; None and empty where it cannot be read from here."""

    inferences: int
    cpu_s_per_1000: Mapping[str, float]
    cpu_s_per_1000_in_all: float | None
    resident_mb: Mapping[str, float]
    gpu_memory_mb: float | None
    gpu_energy_j_per_1000: float | None


class Capacity(msgspec.Struct, frozen=True):
    """Throughput at the SLO: the highest rate that passed and the lowest above it that did not, and all trials.

    The price is that at the first; it may be as low as that at the second. `is_cut_short`: the search ran out of time,
    so that the two are farther apart than they should be.
    """

    passed_per_s: float | None
    failed_per_s: float | None
    knee_per_s: float | None
    is_limited_by_generator: bool
    is_cut_short: bool
    price_per_million: float | None
    price_per_million_at_least: float | None
    points: tuple[LoadPoint, ...]


class Side(msgspec.Struct, frozen=True):
    """One engine behind the gateway, over all slots of the pairs that count."""

    label: Label
    requests: int
    errors: int
    mean_ms: float | None
    quantiles_ms: tuple[Quantile, ...]
    curve_ms: tuple[Quantile, ...]
    stages: Decomposition | None
    balance: Balance | None
    costs: Costs
    capacity: Capacity


class Verdict(msgspec.Struct, frozen=True):
    """The one sentence. `percent` is by how much the slower is above the faster, with its interval's ends."""

    outcome: Outcome
    faster: str | None
    sentence: str
    noise_percent: float | None
    noise_caution: str
    percent: float | None = None
    percent_low: float | None = None
    percent_high: float | None = None


class Result(msgspec.Struct, frozen=True):
    """Everything. `swaps_left_out` says why there are no `swaps`; both are empty where nobody asked for them.

    `mirrored`: answers that the gateway copied to the other engine meanwhile; with any, nothing can be said.
    """

    format: int
    started_at: str
    took_s: float
    is_interrupted: bool
    verdict: Verdict
    settings: Settings
    noise: Comparison
    gateway: Comparison
    direct: Comparison | None
    a: Side
    b: Side
    rejected: tuple[Rejected, ...]
    machine: Machine
    gpus: tuple[str, ...]
    hashes: Mapping[str, str]
    swaps: SwapTimeline | None = None
    swaps_left_out: str = ""
    mirrored: int = 0
    factors: tuple[Row, ...] = ()


def encode_result(result: Result) -> bytes:
    """As JSON for people and programs. What is not finite becomes null."""
    return msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n"


def decode_result(document: bytes) -> Result:
    """Raises CannotRead."""
    try:
        result = msgspec.json.decode(document, type=Result)
    except msgspec.DecodeError as error:
        raise CannotRead(str(error)) from error
    if result.format != FORMAT:
        raise CannotRead(f"format {result.format}, expected {FORMAT}")
    return result
