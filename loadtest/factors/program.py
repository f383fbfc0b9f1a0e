"""The run: one factor after the other, whatever happens to one of them; Ctrl-C keeps what was measured."""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from loadtest.bench.lifeline import Lifeline
from loadtest.compare.progress import Progress
from loadtest.factors.catalog import Factor
from loadtest.factors.rows import Row, missing_row
from loadtest.factors.versions import Platform
from loadtest.factors.workplace import ProcessRunner, Workplace

Say = Callable[[str, float], None]


@dataclass(frozen=True)
class Wish:
    """What is asked for: see Workplace. `url` is a running platform's gateway, and the rest says which model there."""

    is_quick: bool
    url: str | None
    data: Path | None
    model: str = "mnist"
    repository: Path = Path("model_repo")
    home: Path = Path(".twinserve")

    @property
    def platform(self) -> Platform | None:
        return Platform(self.url, self.model, self.repository, self.home) if self.url else None


def run_factors(factors: Sequence[Factor], wish: Wish) -> tuple[list[Row], bool]:
    """All rows, and whether Ctrl-C ended it early; with progress on stderr. Raises NotStarted, OSError."""
    progress = Progress(sum(planned_s(factor, is_quick=wish.is_quick) for factor in factors))
    try:
        with Lifeline() as lifeline:
            workplace = Workplace(ProcessRunner(lifeline), dict(os.environ), wish.is_quick, wish.platform, wish.data)
            return measure_factors(factors, workplace, progress.say)
    finally:
        progress.end()


def measure_factors(factors: Sequence[Factor], workplace: Workplace, say: Say) -> tuple[list[Row], bool]:
    """All rows, and whether Ctrl-C ended it early; `say` hears what begins, and the seconds that are planned for it."""
    rows: list[Row] = []
    try:
        for factor in factors:
            say(factor.name, planned_s(factor, is_quick=workplace.is_quick))
            with closing(_rows(factor, workplace)) as found:  # so that what it began is put back at once
                for row in found:
                    rows.append(row)  # noqa: PERF402 - what came before Ctrl-C is kept
    except KeyboardInterrupt:
        return rows, True
    return rows, False


def planned_s(factor: Factor, *, is_quick: bool) -> float:
    """Seconds that a factor is expected to take."""
    return factor.quick_s if is_quick else factor.planned_s


def find_data(given: Path | None) -> Path | None:
    """The folder of MNIST's files: the one that was named, that of TWINSERVE_MNIST, or the one that training fills."""
    if given or os.environ.get("TWINSERVE_MNIST"):
        return given or Path(os.environ["TWINSERVE_MNIST"])
    cache = Path.home() / ".cache" / "twinserve" / "mnist"
    return cache if cache.is_dir() else None


def _rows(factor: Factor, workplace: Workplace) -> Generator[Row, None, None]:
    try:
        yield from factor.measure(workplace)
    except Exception as error:  # noqa: BLE001 - one factor's bug must not cost the others
        yield missing_row(factor.name, "both", "what is not above", f"{type(error).__name__}: {error}")
