"""What a bench leaves: a document that its tables are made of."""

from collections.abc import Mapping

import msgspec

from loadtest.bench.cases import Case
from loadtest.bench.figures import Figures, Spread
from loadtest.bench.gpu import Gpu
from loadtest.bench.machine import Machine
from loadtest.bench.parity import Parity


class Run(msgspec.Struct, frozen=True):
    """One run of a case; `pair` is its number within a comparison, None in the sweep."""

    case: Case
    figures: Figures
    pair: int | None = None


class ComparisonResult(msgspec.Struct, frozen=True):
    """One comparison: its value over the pairs, and the runs of A and of B."""

    name: str
    says: str
    aim: str
    then: str
    unit: str
    spread: Spread
    a: tuple[Figures, ...]
    b: tuple[Figures, ...]


class Report(msgspec.Struct, frozen=True):
    """Everything. `tuning`: by connections, requests a second of TorchServe alone by "batchSize/maxBatchDelay".

    `gateway_processes` are those of the platform's own gateway; `gpu` and `parity` are of a run with `--gpu`.
    """

    machine: Machine
    settings: str
    started_at: str
    is_interrupted: bool
    comparisons: tuple[ComparisonResult, ...]
    runs: tuple[Run, ...]
    tuning: Mapping[str, Mapping[str, float]]
    gateway_processes: int = 1
    gpu: Gpu | None = None
    parity: tuple[Parity, ...] = ()

    @property
    def faults(self) -> int:
        """Requests that got no good answer, sampled answers that were wrong, and parity that was not kept."""
        unlike = sum(not parity.is_kept for parity in self.parity)
        return sum(run.figures.errors + run.figures.wrong for run in self.runs) + unlike
