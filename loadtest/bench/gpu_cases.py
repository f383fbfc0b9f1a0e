"""What `--gpu` runs: both engines through the gateway, and torch by itself on the same GPU. Pure."""

from loadtest.bench.cases import GATEWAYS, Case, Protocol, TargetName
from loadtest.bench.comparisons import Comparison
from loadtest.bench.figures import throughput_ratio
from loadtest.bench.plan import Lengths, Plan
from loadtest.bench.rounds import Step, plan_steps
from loadtest.bench.targets import RawKind

CONNECTIONS = (1, 64, 256)
ROWS = (1, 32, 512)
QUEUE_ROWS = 2 * CONNECTIONS[-1] * ROWS[-1]
"""The gateway's queue has to hold the largest requests of all connections."""

RAW_KINDS = {
    TargetName.RAW_GPU: RawKind(on_gpu=True),
    TargetName.RAW_GPU_GRAPHS: RawKind(on_gpu=True, has_graphs=True),
    TargetName.RAW_GPU_HALF: RawKind(on_gpu=True, is_half=True),
    TargetName.RAW_GPU_HALF_GRAPHS: RawKind(on_gpu=True, is_half=True, has_graphs=True),
}

COMPARISONS = tuple(
    Comparison(
        f"gpu-{rows}{'-graphs' if raw is TargetName.RAW_GPU_GRAPHS else ''}",
        f"images a second through the gateway, {rows} a request, 64 connections ÷ {raw}, as many at a time",
        Case(TargetName.GATEWAY_TORCHSERVE, rows=rows),
        Case(raw, Protocol.FORWARD, 1, rows),
        throughput_ratio,
        "",
        "",
    )
    for rows in ROWS
    for raw in (TargetName.RAW_GPU, TargetName.RAW_GPU_GRAPHS)
)


def make_gpu_plan(lengths: Lengths) -> Plan:
    """The comparisons in pairs, then every case once."""
    steps = [*plan_steps(COMPARISONS, lengths.pairs)]
    for rows in ROWS:
        steps += [Step(Case(raw, Protocol.FORWARD, 1, rows)) for raw in RAW_KINDS]
        steps += [Step(Case(target, connections=many, rows=rows)) for target in GATEWAYS for many in CONNECTIONS]
    return Plan(COMPARISONS, tuple(steps))
