"""What can be asked, and how: the cases that a bench runs. Pure."""

import enum

import msgspec


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
    RAW_GPU = "raw torch on the GPU, fp32"
    RAW_GPU_GRAPHS = "raw torch on the GPU, fp32, CUDA graphs"
    RAW_GPU_HALF = "raw torch on the GPU, fp16"
    RAW_GPU_HALF_GRAPHS = "raw torch on the GPU, fp16, CUDA graphs"


GATEWAYS = (TargetName.GATEWAY_TORCHSERVE, TargetName.GATEWAY_TFSERVING)
"""What is asked through the gateway."""


class Case(msgspec.Struct, frozen=True):
    """One thing to run. `share` makes it an open loop at this share of the capacity that was measured just before.

    `processes`: a gateway of so many processes beside the platform's own; None: the platform's.
    """

    target: TargetName
    protocol: Protocol = Protocol.BINARY
    connections: int = 64
    rows: int = 1
    share: float | None = None
    processes: int | None = None

    def __str__(self) -> str:
        if self.protocol is Protocol.FORWARD:
            return f"{self.target}, {self.protocol}, {count(self.rows, 'image')}"
        load = f"open loop at {self.share * 100:.0f} %" if self.share else count(self.connections, "connection")
        beside = "" if self.processes is None else f", {count(self.processes, 'gateway process')}"
        return f"{self.target}, {self.protocol}, {load}, {count(self.rows, 'image')}{beside}"


def count(number: int, what: str) -> str:
    """A number and what it counts: "1 image", "2 processes"."""
    ending = "" if number == 1 else "es" if what.endswith("s") else "s"
    return f"{number:,} {what}{ending}"
