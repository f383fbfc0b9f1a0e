"""What a run showed, as `summary.json` has it and as a person reads it, and whether that is good enough. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from loadtest.scenarios.answers import Fate
from loadtest.scenarios.histograms import Histogram
from loadtest.scenarios.tallies import Tally

_SHOWN_FAULTS = 10


class Latency(msgspec.Struct, frozen=True):
    """Percentiles in milliseconds; all zero when there is none."""

    count: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float

    @classmethod
    def of(cls, histogram: Histogram) -> "Latency":
        p50, p90, p95, p99, p999 = (_ms(histogram.quantile(share)) for share in (0.5, 0.9, 0.95, 0.99, 0.999))
        return cls(histogram.count, _ms(histogram.mean_s), p50, p90, p95, p99, p999, _ms(histogram.max_s))


class Limits(msgspec.Struct, frozen=True):
    """What is asked of a run; None asks nothing. Rates and accuracy are shares, 0..1."""

    max_p99_ms: float | None = None
    max_error_rate: float | None = 0.0
    min_accuracy: float | None = None


class Check(msgspec.Struct, frozen=True):
    """One limit and what came; `value` is None when it could not be told, which misses the limit."""

    name: str
    limit: float
    value: float | None
    is_met: bool


class Incident(msgspec.Struct, frozen=True):
    """Something done to the platform: at which second of the run, for how long, and what was wrong with it if anything.

    `details` are seconds of its parts, by name.
    """

    what: str
    at_s: float
    seconds: float
    fault: str = ""
    details: Mapping[str, float] = {}


class Plan(msgspec.Struct, frozen=True):
    """What was asked for. `loop` is open or closed; then `rate_per_s` or `users` is the full load."""

    scenario: str
    url: str
    model: str
    loop: str
    protocols: tuple[str, ...]
    engine: str | None = None
    rate_per_s: float | None = None
    users: int | None = None
    duration_s: float | None = None
    seed: int = 0
    questions: str = ""


class LocustFigures(msgspec.Struct, frozen=True):
    """Locust's own figures of the same requests, in milliseconds, as its reports have them."""

    requests: int
    failures: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """requests = right + wrong + refused + lost + not sent; `errors` are all but the right ones.

    `latency` counts from when a request was due, `service` from when it was sent, `lateness` is the difference: how
    late this program was, which is none of the gateway's doing. In a closed loop a request is due when it is sent.
    """

    is_good: bool
    is_interrupted: bool
    plan: Plan
    started_at: float
    seconds: float
    requests: int
    requests_per_s: float
    fates: dict[str, int]
    errors: int
    error_rate: float
    labelled: int
    accuracy: float | None
    latency: Latency
    service: Latency
    lateness: Latency
    by_protocol: dict[str, Latency]
    by_phase: dict[str, Latency]
    by_engine: dict[str, Latency]
    versions: dict[str, int]
    incidents: tuple[Incident, ...]
    checks: tuple[Check, ...]
    faults: dict[str, int]
    locust: LocustFigures


def check_limits(tally: Tally, limits: Limits) -> tuple[Check, ...]:
    """Hold what came against what is asked."""
    checks = []
    if limits.max_p99_ms is not None:
        p99_ms = _ms(tally.latency.quantile(0.99)) if tally.latency.count else None
        checks.append(
            Check("max_p99_ms", limits.max_p99_ms, p99_ms, p99_ms is not None and p99_ms <= limits.max_p99_ms)
        )
    if limits.max_error_rate is not None:
        rate = tally.error_rate if tally.requests else None
        checks.append(
            Check("max_error_rate", limits.max_error_rate, rate, rate is not None and rate <= limits.max_error_rate)
        )
    if limits.min_accuracy is not None:
        share = tally.accuracy
        checks.append(
            Check("min_accuracy", limits.min_accuracy, share, share is not None and share >= limits.min_accuracy)
        )
    return tuple(checks)


class Ran(msgspec.Struct, frozen=True):
    """How a run went, beside its requests. `started_at` is Unix time."""

    started_at: float
    seconds: float
    is_interrupted: bool
    incidents: tuple[Incident, ...]
    locust: LocustFigures


def summarize(plan: Plan, tally: Tally, limits: Limits, ran: Ran) -> Summary:
    """Everything in one document. Good is a run with requests, all limits met, and incidents without a fault."""
    checks = check_limits(tally, limits)
    is_good = bool(tally.requests) and all(c.is_met for c in checks) and not any(i.fault for i in ran.incidents)
    return Summary(
        is_good=is_good,
        is_interrupted=ran.is_interrupted,
        plan=plan,
        started_at=ran.started_at,
        seconds=round(ran.seconds, 3),
        requests=tally.requests,
        requests_per_s=round(tally.requests / ran.seconds, 2) if ran.seconds else 0.0,
        fates={fate.value: tally.fates[fate] for fate in Fate},
        errors=tally.errors,
        error_rate=tally.error_rate,
        labelled=tally.labels.total(),
        accuracy=tally.accuracy,
        latency=Latency.of(tally.latency),
        service=Latency.of(tally.service),
        lateness=Latency.of(tally.lateness),
        by_protocol=_each(tally.by_protocol),
        by_phase=_each(tally.by_phase),
        by_engine=_each(tally.by_engine),
        versions=dict(sorted(tally.versions.items())),
        incidents=ran.incidents,
        checks=checks,
        faults=dict(tally.faults.most_common()),
        locust=ran.locust,
    )


def describe(summary: Summary) -> str:
    """A summary for a person, several lines."""
    fates = ", ".join(f"{count} {fate}" for fate, count in summary.fates.items() if count)
    accuracy = "no labels" if summary.accuracy is None else f"{summary.accuracy:.2%} of {summary.labelled} labels right"
    lines = [
        f"requests  {summary.requests} in {summary.seconds:.1f} s, {summary.requests_per_s:g}/s: {fates or 'none'}",
        f"answers   {accuracy}; {_counts(summary.versions)}",
        f"latency   {_latency(summary.latency)}",
        _loop(summary),
        *(
            f"  {name:14} {_latency(latency)}"
            for group in (summary.by_protocol, summary.by_engine, summary.by_phase)
            if len(group) > 1
            for name, latency in group.items()
        ),
        *(_incident(incident) for incident in summary.incidents),
        *(f"fault     {count} x {fault}" for fault, count in list(summary.faults.items())[:_SHOWN_FAULTS]),
        *(_check(check) for check in summary.checks),
        _verdict(summary),
    ]
    return "\n".join(lines) + "\n"


def missed(summary: Summary) -> Sequence[str]:
    """Why a run is not good, in words."""
    reasons = [_check(check) for check in summary.checks if not check.is_met]
    reasons += [_incident(incident) for incident in summary.incidents if incident.fault]
    return reasons if summary.requests else ["no request was made", *reasons]


def _loop(summary: Summary) -> str:
    if summary.plan.loop == "open":
        return f"lateness  {_latency(summary.lateness)} (ours, within the latency)"
    return (
        "          closed loop: while one user waits for a stall, it asks nothing; an open loop (--rate) shows it whole"
    )


def _verdict(summary: Summary) -> str:
    if summary.is_interrupted:
        return "interrupted; the figures are of what ran"
    return "good" if summary.is_good else "not good: " + "; ".join(missed(summary))


def _check(check: Check) -> str:
    came = "nothing to tell it from" if check.value is None else f"{check.value:.4g}"
    return f"--{check.name.replace('_', '-')} {check.limit:g}: {'met' if check.is_met else 'missed'}, {came}"


def _incident(incident: Incident) -> str:
    parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in incident.details.items())
    ended = incident.fault or "done"
    return f"at {incident.at_s:5.1f} s  {incident.what}: {ended} in {incident.seconds:.2f} s" + (
        f" ({parts})" if parts else ""
    )


def _latency(latency: Latency) -> str:
    return (
        f"{latency.count} requests, p50 {latency.p50_ms:.2f} ms, p90 {latency.p90_ms:.2f}, p99 {latency.p99_ms:.2f}, "
        f"p99.9 {latency.p999_ms:.2f}, max {latency.max_ms:.2f}"
    )


def _counts(versions: Mapping[str, int]) -> str:
    return ", ".join(f"version {version} {count}" for version, count in versions.items()) or "no version"


def _each(group: Mapping[str, Histogram]) -> dict[str, Latency]:
    return {name: Latency.of(histogram) for name, histogram in sorted(group.items())}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 4)
