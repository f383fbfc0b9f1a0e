"""What is compared, by name, and in which order it runs. Pure: data and a plan."""

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from loadtest.bench.figures import Figures, Spread, p50_difference_ms, p99_ratio, tail, throughput_ratio


class Protocol(enum.StrEnum):
    """How a case asks. `forward` is no protocol: the framework's forward pass by itself."""

    JSON = "HTTP JSON"
    BINARY = "HTTP binary"
    GRPC = "gRPC"
    PREDICT = "gRPC Predict"
    FORWARD = "forward"


class TargetName(enum.StrEnum):
    """What can be asked."""

    GATEWAY_TORCHSERVE = "gateway→torchserve"
    GATEWAY_TFSERVING = "gateway→tfserving"
    TORCHSERVE = "torchserve alone"
    TORCHSERVE_UNDELAYED = "torchserve alone, delay 0"
    TFSERVING = "tfserving alone"
    IN_PROCESS = "in-process"
    RAW_TORCH = "raw torch"
    RAW_TENSORFLOW = "raw tensorflow"


class Case(msgspec.Struct, frozen=True):
    """One thing to run. `share` makes it an open loop at this share of the capacity that was measured just before."""

    target: TargetName
    protocol: Protocol = Protocol.BINARY
    connections: int = 64
    rows: int = 1
    share: float | None = None

    def __str__(self) -> str:
        if self.protocol is Protocol.FORWARD:
            return f"{self.target}, {self.protocol}, {_count(self.rows, 'image')}"
        load = f"open loop at {self.share * 100:.0f} %" if self.share else _count(self.connections, "connection")
        return f"{self.target}, {self.protocol}, {load}, {_count(self.rows, 'image')}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


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


Round = tuple[Case, ...]
"""Cases that run one after the other, over and over."""


class Step(msgspec.Struct, frozen=True):
    """One run: `case` in the round number `number` of its kind, from 0."""

    round: Round
    number: int
    case: Case


def plan_rounds(comparisons: Iterable[Comparison]) -> list[Round]:
    """The two sides of each comparison run right after each other, and a run serves as many comparisons as that allows.

    Two that share a side make a round of three with it in the middle. An open loop comes after what tells its capacity.
    """
    rounds: list[Round] = []
    for comparison in comparisons:
        duel = (comparison.b, comparison.a) if comparison.a.share else (comparison.a, comparison.b)
        if any(set(duel) <= set(known) for known in rounds):
            continue
        joined = ((at, _join(known, duel)) for at, known in enumerate(rounds))
        at, found = next(((at, found) for at, found in joined if found), (len(rounds), duel))
        rounds[at : at + 1] = [found]
    return rounds


def _join(one: Round, other: Round) -> Round | None:
    shared = set(one) & set(other)
    if len(one) != 2 or len(shared) != 1:
        return None
    (middle,) = shared
    sides = sorted((case for case in (*one, *other) if case != middle), key=lambda case: case.share is not None)
    return None if middle.share or sides[0].share else (sides[0], middle, sides[1])


def plan_steps(comparisons: Iterable[Comparison], pairs: int) -> Iterator[Step]:
    """Every run of the comparisons, in order: each round `pairs` times, then the next."""
    for cases in plan_rounds(comparisons):
        for number in range(pairs):
            for case in cases:
                yield Step(cases, number, case)


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

NOT_QUICK = frozenset({"tf-64-grpc"})
"""Left out of `bench-quick` for time."""

CONNECTIONS = (1, 16, 64, 256)
ROWS = (1, 32)
SHARES = (0.25, 0.5, 0.75, 0.9)


def plan_sweep() -> Iterator[Case]:
    """Every case of the full bench, each once: it says how costs grow, where comparisons say which is less."""
    asked = (
        *((target, _P.BINARY) for target in (_T.GATEWAY_TORCHSERVE, _T.GATEWAY_TFSERVING, _T.TORCHSERVE)),
        (_T.IN_PROCESS, _P.BINARY),
        (_T.TFSERVING, _P.PREDICT),
        *(
            (target, protocol)
            for target in (_T.GATEWAY_TORCHSERVE, _T.GATEWAY_TFSERVING)
            for protocol in (_P.JSON, _P.GRPC)
        ),
        (_T.TORCHSERVE, _P.GRPC),
    )
    for target, protocol in asked:
        for rows in ROWS:
            for connections in CONNECTIONS:
                yield Case(target, protocol, connections, rows)
    for target in (_T.RAW_TORCH, _T.RAW_TENSORFLOW):
        for rows in (1, 8, 32, 64, 128, 512):
            yield Case(target, _P.FORWARD, 1, rows)
    for target in (_T.GATEWAY_TORCHSERVE, _T.GATEWAY_TFSERVING, _T.TORCHSERVE, _T.IN_PROCESS):
        yield Case(target)  # its capacity, right before
        for share in SHARES:
            yield Case(target, share=share)
