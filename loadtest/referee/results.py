"""What a run of the referee leaves: LoadGen's verdicts beside our own count of right answers. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from loadtest.referee.detail_log import DetailLog
from loadtest.referee.scenarios import Scenario, Terms

LABEL = "LoadGen-driven, not an MLPerf result"
FORMAT = 1

_SHOWN_FAULTS = 5
_RATES = {
    Scenario.SINGLE_STREAM: "result_qps_with_loadgen_overhead",
    Scenario.SERVER: "result_completed_samples_per_sec",
    Scenario.OFFLINE: "result_samples_per_second",
}


@dataclass(frozen=True)
class Asked:
    """What became of one sample: right, wrong, refused (an error status) or lost (no whole answer)."""

    kind: str
    engine: str = ""
    fault: str = ""


class Answers(msgspec.Struct, frozen=True):
    """Our own count: asked = right + wrong + refused + lost."""

    asked: int
    right: int
    wrong: int
    refused: int
    lost: int
    by_engine: Mapping[str, int]
    faults: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        return 0 < self.asked == self.right


class Latency(msgspec.Struct, frozen=True):
    """LoadGen's, in milliseconds: of queries in MultiStream, else of samples; None where it does not tell."""

    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    p99_9: float | None
    max: float | None


class Ruling(msgspec.Struct, frozen=True):
    """One scenario. `is_valid` is LoadGen's word; it knows nothing of right and wrong, so `is_good` asks for both.

    `samples_per_s` is LoadGen's of the scenarios that it tells a rate of, else samples over seconds. `loadgen_errors`
    are entries of its log that it calls errors.
    """

    scenario: str
    is_good: bool
    is_valid: bool
    invalid_because: str
    early_stopping: str
    terms: Terms
    seconds: float
    queries: int
    samples_per_s: float | None
    latency_ms: Latency
    answers: Answers
    loadgen_errors: tuple[str, ...]
    logs: str


class Report(msgspec.Struct, frozen=True):
    """Everything. `implementations`: what answers as each engine; `capacity_per_s` was found before LoadGen asked."""

    format: int
    label: str
    loadgen: str
    started_at: str
    is_interrupted: bool
    url: str
    model: str
    version: int
    engine: str | None
    implementations: Mapping[str, str]
    requests_from: str
    capacity_per_s: float
    rulings: tuple[Ruling, ...]

    @property
    def is_good(self) -> bool:
        return not self.is_interrupted and bool(self.rulings) and all(ruling.is_good for ruling in self.rulings)


def count_answers(asked: Sequence[Asked]) -> Answers:
    """What became of every sample."""
    kinds = Counter(each.kind for each in asked)
    faults = Counter(f"{each.kind}: {each.fault}" for each in asked if each.fault)
    return Answers(
        asked=len(asked),
        right=kinds["right"],
        wrong=kinds["wrong"],
        refused=kinds["refused"],
        lost=kinds["lost"],
        by_engine=dict(sorted(Counter(each.engine for each in asked if each.engine).items())),
        faults=tuple(f"{count} x {fault}" for fault, count in faults.most_common(_SHOWN_FAULTS)),
    )


def make_ruling(terms: Terms, log: DetailLog, answers: Answers, seconds: float, logs: str) -> Ruling:
    """Raises BadLog when LoadGen has given no verdict."""
    scenario = Scenario(terms.scenario)
    rate = log.number(_RATES[scenario]) if scenario in _RATES else None
    return Ruling(
        scenario=terms.scenario,
        is_good=log.is_valid and answers.is_good,
        is_valid=log.is_valid,
        invalid_because=log.text("result_invalid_reason"),
        early_stopping=log.text("early_stopping_result"),
        terms=terms,
        seconds=seconds,
        queries=int(log.number("result_query_count") or 0),
        samples_per_s=rate if rate is not None or not seconds else answers.asked / seconds,
        latency_ms=_latency(log, "_per_query" if scenario is Scenario.MULTI_STREAM else ""),
        answers=answers,
        loadgen_errors=log.errors,
        logs=logs,
    )


def _latency(log: DetailLog, of: str) -> Latency:
    def at(level: str) -> float | None:
        return log.milliseconds(f"result_{level}_percentile{of}_latency_ns")

    kind = "query_" if of else ""
    return Latency(
        mean=log.milliseconds(f"result_mean_{kind}latency_ns"),
        p50=at("50.00"),
        p90=at("90.00"),
        p99=at("99.00"),
        p99_9=at("99.90"),
        max=log.milliseconds(f"result_max_{kind}latency_ns"),
    )


def encode_report(report: Report) -> bytes:
    """As JSON for people and programs."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def describe(report: Report) -> str:
    """Lines of text, the label first."""
    engine = report.engine or "routed"
    lines = [f"{LABEL} (LoadGen {report.loadgen}; {report.model} version {report.version}, {engine})"]
    for ruling in report.rulings:
        lines += _describe(ruling)
    lines.append("interrupted" if report.is_interrupted else "good" if report.is_good else "not good")
    return "\n".join(lines) + "\n"


def _describe(ruling: Ruling) -> list[str]:
    latency, answers, terms = ruling.latency_ms, ruling.answers, ruling.terms
    what = "queries of eight" if terms.samples_per_query > 1 else "samples"
    asked = f", {terms.rate_per_s:g} a second asked" if terms.rate_per_s else ""
    rate = f"{ruling.samples_per_s:,.0f} samples a second" if ruling.samples_per_s else "no rate"
    times = ", ".join(
        f"{name} {value:.2f}"
        for name, value in (("p50", latency.p50), ("p90", latency.p90), ("p99", latency.p99), ("max", latency.max))
        if value is not None
    )
    lines = [
        f"{ruling.scenario:13}{'VALID' if ruling.is_valid else 'INVALID'}  {rate}{asked}; {what}: {times} ms; "
        f"{answers.right} of {answers.asked} answers right, {ruling.seconds:.1f} s"
    ]
    because = [
        ruling.invalid_because,
        "" if ruling.is_valid else ruling.early_stopping,
        *ruling.loadgen_errors,
        *answers.faults,
    ]
    return lines + [f"{'':13}{why}" for why in because if why]
