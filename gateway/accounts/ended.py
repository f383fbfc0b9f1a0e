"""What became of one request for inference, for whoever tells of it."""

from typing import NamedTuple

from gateway.accounts.trace_context import Trace
from gateway.core.usage import Stages
from gateway.protocols.witness import Asker


class Outcome(NamedTuple):
    """How a request ended: `status` is HTTP's number or gRPC's name, `label` the one in metrics.

    `error` is None for an answer; `is_fault` says that it is not the client's.
    """

    status: int | str
    label: str
    error: str | None = None
    is_fault: bool = False


class Ended(NamedTuple):
    """A request that was answered, refused or failed.

    `model`, `version` and `engine` are empty where there is none. `rows` is None when the body was never understood,
    `stages_s` where there was no answer. `asked_after_s` is when, counted from its beginning, an engine was asked for
    this request alone, within a trace.
    """

    asker: Asker
    protocol: str
    model: str
    version: str
    engine: str
    outcome: Outcome
    rows: int | None
    stages_s: Stages | None
    total_s: float
    ended_ns: int
    trace: Trace | None
    asked_after_s: float | None
