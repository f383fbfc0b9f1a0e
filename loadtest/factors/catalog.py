"""All factors in their order, with what each is expected to take; and what is argued about but is no number."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from loadtest.factors import (
    coverage,
    custom_operator,
    data_loading,
    debugging,
    deployment,
    devices,
    distribution,
    graphs,
    parity,
    ramp_up,
    serialization,
    training,
)
from loadtest.factors.rows import Row, missing_row
from loadtest.factors.workplace import Workplace

NOT_MEASURABLE = "not measurable"


@dataclass(frozen=True)
class Factor:
    """`planned_s` and `quick_s` are what it took on two cores; they only tell how much time is left."""

    name: str
    measure: Callable[[Workplace], Iterable[Row]]
    planned_s: float
    quick_s: float


def _taste(workplace: Workplace) -> Iterator[Row]:
    del workplace
    reasons = {
        "documentation": "how good a text is, a reader says; a count of its words would not",
        "taste": "whether a class or a list of layers is nicer to write is for each to say",
        "community": "stars and answers elsewhere are no property of this machine",
        "people": "how long somebody takes to learn it needs somebody who has not learnt it",
    }
    return (missing_row(NOT_MEASURABLE, "both", what, why) for what, why in reasons.items())


FACTORS = (
    Factor(ramp_up.NAME, ramp_up.measure, 1, 1),
    Factor(serialization.NAME, serialization.measure, 25, 16),
    Factor(parity.NAME, parity.measure, 20, 18),
    Factor(graphs.NAME, graphs.measure, 110, 30),
    Factor(data_loading.NAME, data_loading.measure, 40, 18),
    Factor(coverage.NAME, coverage.measure, 25, 22),
    Factor(debugging.NAME, debugging.measure, 25, 20),
    Factor(training.NAME, training.measure, 180, 25),
    Factor(deployment.NAME, deployment.measure, 90, 20),
    Factor(devices.NAME, devices.measure, 15, 12),
    Factor(distribution.NAME, distribution.measure, 60, 25),
    Factor(custom_operator.NAME, custom_operator.measure, 90, 60),
    Factor(NOT_MEASURABLE, _taste, 0.1, 0.1),
)
