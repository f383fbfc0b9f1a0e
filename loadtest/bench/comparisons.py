"""What is compared, by name. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtest.bench.cases import Case, Protocol, TargetName, count
from loadtest.bench.figures import Figures, Spread, p50_difference_ms, p99_ratio, tail, throughput_ratio


@dataclass(frozen=True)
class Comparison:
    """A against B; `measure` is taken of each pair. `aim` and `then` are the limits that issue 7 sets."""

    name: str
    says: str
    a: Case
    b: Case
    measure: Callable[[Figures, Figures], float | None]
    aim: str
    then: str
    unit: str = ""


def spread_of(comparison: Comparison, pairs: Sequence[tuple[Figures, Figures]]) -> Spread:
    """What the pairs (A, B) of the comparison say."""
    return Spread.of([comparison.measure(a, b) for a, b in pairs])


_T, _P = TargetName, Protocol

COMPARISONS = (
    Comparison(
        "torchserve-64",
        "gateway→TorchServe ÷ TorchServe alone at its best, 64 connections",
        Case(_T.GATEWAY_TORCHSERVE),
        Case(_T.TORCHSERVE),
        throughput_ratio,
        "≥ 1.2",
        "≥ 2",
    ),
    Comparison(
        "torchserve-256",
        "the same, 256 connections",
        Case(_T.GATEWAY_TORCHSERVE, connections=256),
        Case(_T.TORCHSERVE, connections=256),
        throughput_ratio,
        "≥ 1.2",
        "≥ 2",
    ),
    Comparison(
        "in-process-64",
        "gateway→TorchServe ÷ in-process micro-batching server, 64 connections",
        Case(_T.GATEWAY_TORCHSERVE),
        Case(_T.IN_PROCESS),
        throughput_ratio,
        "≥ 0.9",
        "≥ 1.2",
    ),
    Comparison(
        "tf-64",
        "gateway→TF over HTTP binary ÷ TF engine alone over gRPC, 64 connections",
        Case(_T.GATEWAY_TFSERVING),
        Case(_T.TFSERVING, _P.PREDICT),
        throughput_ratio,
        "≥ 1.5",
        "≥ 2",
    ),
    Comparison(
        "tf-64-grpc",
        "gateway→TF ÷ TF engine alone, Predict and the same grpc.aio client on both, 64 in flight",
        Case(_T.GATEWAY_TFSERVING, _P.PREDICT),
        Case(_T.TFSERVING, _P.PREDICT),
        throughput_ratio,
        "",
        "",
    ),
    Comparison(
        "one-connection",
        "p50 through the gateway − p50 of TorchServe alone with batch delay 0, 1 connection",
        Case(_T.GATEWAY_TORCHSERVE, connections=1),
        Case(_T.TORCHSERVE_UNDELAYED, connections=1),
        p50_difference_ms,
        "≤ 0.6",
        "≤ 0.3",
        unit="ms",
    ),
    Comparison(
        "forward-32",
        "images a second, 32 images a request, 16 connections ÷ raw torch forward, batch 32",
        Case(_T.GATEWAY_TORCHSERVE, connections=16, rows=32),
        Case(_T.RAW_TORCH, _P.FORWARD, connections=1, rows=32),
        throughput_ratio,
        "≥ 0.6",
        "≥ 0.8",
    ),
    Comparison(
        "grpc-64",
        "gRPC ModelInfer ÷ TorchServe's own gRPC, the same grpc.aio client, 64 in flight",
        Case(_T.GATEWAY_TORCHSERVE, _P.GRPC),
        Case(_T.TORCHSERVE, _P.GRPC),
        throughput_ratio,
        "≥ 1",
        "≥ 1.5",
    ),
    Comparison(
        "p99-64",
        "p99 through the gateway ÷ p99 of TorchServe alone, 64 connections",
        Case(_T.GATEWAY_TORCHSERVE),
        Case(_T.TORCHSERVE),
        p99_ratio,
        "≤ 1",
        "≤ 0.6",
    ),
    Comparison(
        "open-loop-50",
        "p99 ÷ p50 through the gateway, open loop at 50 % of capacity",
        Case(_T.GATEWAY_TORCHSERVE, share=0.5),
        Case(_T.GATEWAY_TORCHSERVE),
        tail,
        "≤ 3",
        "≤ 2",
    ),
    Comparison(
        "connections-1000",
        "1,000 connections ÷ 64, through the gateway; no errors",
        Case(_T.GATEWAY_TORCHSERVE, connections=1000),
        Case(_T.GATEWAY_TORCHSERVE),
        throughput_ratio,
        "≥ 0.9",
        "≥ 1",
    ),
)

PROCESSES = (1, 2, 3, 4)

PROCESS_COMPARISONS = tuple(
    Comparison(
        f"processes-{processes}-{connections}",
        f"gateway→TorchServe with {count(processes, 'process')} ÷ TorchServe alone, {connections} connections",
        Case(_T.GATEWAY_TORCHSERVE, connections=connections, processes=processes),
        Case(_T.TORCHSERVE, connections=connections),
        throughput_ratio,
        "",
        "",
    )
    for processes in PROCESSES
    for connections in (64, 256)
)
