"""What our load generators are told on standard input and say on standard output: one JSON document each."""

import sys

import msgspec

from loadtest.bench.figures import Latency


class Job(msgspec.Struct, frozen=True):
    """Send `requests` in turn. Closed loop over `connections`, or open loop at `rate_per_s` over at most that many.

    HTTP: whole requests. gRPC: messages for `method`, with `metadata`, that many in flight. What is answered within
    the first `warmup_s` seconds is not counted; one answer in `sample_every` is handed back.
    """

    host: str
    port: int
    requests: tuple[bytes, ...]
    connections: int
    duration_s: float
    warmup_s: float = 0.0
    rate_per_s: float | None = None
    seed: int = 0
    sample_every: int = 200
    method: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    drain_s: float = 20.0


class Sample(msgspec.Struct, frozen=True):
    """One answer, to the request of that number."""

    request: int
    body: bytes
    header_length: str | None = None


class JobReport(msgspec.Struct, frozen=True):
    """`answered` with a good status within `seconds`; `statuses` counts the others by their name."""

    answered: int
    seconds: float
    latency: Latency
    statuses: dict[str, int]
    samples: list[Sample]
    lag_ms: float | None = None

    @property
    def errors(self) -> int:
        return sum(self.statuses.values())


MOST_SAMPLES = 200


def read_job() -> Job:
    """The job on standard input. Raises msgspec.DecodeError."""
    return msgspec.json.decode(sys.stdin.buffer.read(), type=Job)


def write_report(report: JobReport) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(report))
    sys.stdout.buffer.flush()
