"""Cases that each run once: they say how costs grow, where comparisons say which is less. Pure."""

from collections.abc import Iterator

from loadtest.bench.cases import GATEWAYS, Case, Protocol, TargetName

_T, _P = TargetName, Protocol

CONNECTIONS = (1, 16, 64, 256)
ROWS = (1, 32)
SHARES = (0.25, 0.5, 0.75, 0.9)
GROWTH_CONNECTIONS = (1, 4, 16, 64, 256, 1000)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
BATCH_CONNECTIONS = 8
"""So few that the largest requests of all of them fit into the gateway's queue."""


def plan_protocols() -> Iterator[Case]:
    """Every protocol of every target, by connections and images a request."""
    asked = (
        *((target, _P.BINARY) for target in (*GATEWAYS, _T.TORCHSERVE, _T.IN_PROCESS)),
        (_T.TFSERVING, _P.PREDICT),
        *((target, protocol) for target in GATEWAYS for protocol in (_P.JSON, _P.GRPC)),
        (_T.TORCHSERVE, _P.GRPC),
    )
    for target, protocol in asked:
        for rows in ROWS:
            for connections in CONNECTIONS:
                yield Case(target, protocol, connections, rows)


def plan_open_loops() -> Iterator[Case]:
    """Shares of a capacity that is measured right before."""
    for target in (*GATEWAYS, _T.TORCHSERVE, _T.IN_PROCESS):
        yield Case(target)
        for share in SHARES:
            yield Case(target, share=share)


def plan_growth() -> Iterator[Case]:
    """The gateway by number of connections, one image a request."""
    for target in GATEWAYS:
        for connections in GROWTH_CONNECTIONS:
            yield Case(target, connections=connections)


def plan_batches() -> Iterator[Case]:
    """Images a request through the gateway, each right before the bare forward pass of as many."""
    for gateway, raw in zip(GATEWAYS, (_T.RAW_TORCH, _T.RAW_TENSORFLOW), strict=True):
        for rows in BATCHES:
            yield Case(gateway, connections=BATCH_CONNECTIONS, rows=rows)
            yield Case(raw, _P.FORWARD, 1, rows)
