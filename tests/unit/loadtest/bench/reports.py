"""Made-up reports of a bench on a machine of two cores, whose costs are known."""

from loadtest.bench.cases import GATEWAYS, Case, Protocol, TargetName
from loadtest.bench.comparisons import PROCESS_COMPARISONS, spread_of
from loadtest.bench.figures import Figures, Latency
from loadtest.bench.machine import Machine
from loadtest.bench.results import ComparisonResult, Report, Run
from loadtest.bench.sweeps import plan_batches, plan_growth

MACHINE = Machine(2, "Some CPU", "", 8 << 30, 1.25, "Linux 6", "3.11.7", {"torch": "2.13.0"}, "abc1234")
SECONDS = 4.0


def rows_per_batch(case: Case) -> float:
    """Half of what is under way, up to a batch's limit."""
    return max(1.0, min(64.0, case.connections * case.rows / 2))


def figures(case: Case, reach: float = 1.0) -> Figures:
    """Gateway 300 µs a request and 200 a batch, engine 100 µs a row and 1,000 a batch, generator 50 µs a request.

    Of the engine's turns 150 µs go by for a request, 120 for a row and 1,500 for a batch.
    """
    batches = case.rows / rows_per_batch(case)
    gateway_s = 300e-6 + 200e-6 * batches
    engine_s = 100e-6 * case.rows + 1000e-6 * batches
    rate = reach / max(gateway_s / (case.processes or 1), 150e-6 + 120e-6 * case.rows + 1500e-6 * batches)
    requests = round(rate * SECONDS)
    engine = "torchserve's children" if case.target is TargetName.GATEWAY_TORCHSERVE else "tfserving"
    used = {"gateway's children" if case.processes else "gateway": gateway_s, engine: engine_s}
    return Figures(
        "made up",
        "wrk",
        requests,
        case.rows,
        SECONDS,
        Latency(1, 2, 3, 4),
        checked=10,
        cpu_s={name: cost_s * requests for name, cost_s in used.items()},
        generator_cpu_s=50e-6 * requests,
        batches=round(1000 * batches),
        batched_rows=round(1000 * case.rows),
    )


def forward(case: Case) -> Figures:
    """The bare pass, 100 µs an image."""
    requests = round(SECONDS / (100e-6 * case.rows))
    return Figures("torch", "none", requests, case.rows, SECONDS, cpu_s={"forward": SECONDS})


def full_report() -> Report:
    """Growth, batches, and TensorFlow's engine as measured; TorchServe by processes beside it alone."""
    growth = [Run(case, figures(case, 0.9)) for case in plan_growth() if case.target is GATEWAYS[1]]
    batches = [
        Run(case, forward(case) if case.protocol is Protocol.FORWARD else figures(case, 0.9)) for case in plan_batches()
    ]
    more = Run(Case(GATEWAYS[1], connections=16, rows=32), figures(Case(GATEWAYS[1], connections=16, rows=32), 0.9))
    results = []
    for comparison in PROCESS_COMPARISONS:
        pair = figures(comparison.a), figures(comparison.a, 0.5)
        spread = spread_of(comparison, [pair])
        results.append(ComparisonResult(comparison.name, "", "", "", "", spread, pair[:1], pair[1:]))
    by_processes = [Run(c.a, r.a[0], 0) for c, r in zip(PROCESS_COMPARISONS, results, strict=True)]
    runs = (*growth, *batches, more, *by_processes)
    return Report(MACHINE, "1 pair", "2026-01-01", False, tuple(results), runs, {})
