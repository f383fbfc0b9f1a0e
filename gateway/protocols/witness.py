"""Whoever tells of requests one by one (an access log, traces), as the protocols see it.

Rules: there may be nobody, and then a request costs a test for None. Whoever is there is told by methods that return at
once and never raise, in the event loop. Must not know what is done with what it is told.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from gateway.core.errors import ServingError
from gateway.core.tensors import Tensor
from gateway.core.usage import Stages


class Asker(NamedTuple):
    """A request as its transport has it.

    Over gRPC `method` is empty and `path` the full name of the call; `route` is the path with the names of its
    parameters in place of what they are. `traceparent` and `tracestate` as the client sent them (W3C Trace Context).
    """

    request_id: str
    method: str
    path: str
    route: str
    traceparent: str
    tracestate: str


class Account(Protocol):
    """What is kept of one request while it is under way. It ends once: what is told after that is not heard."""

    def asked(self, inputs: Mapping[str, Tensor], is_batchable: bool) -> None:
        """The body became these inputs; the core is asked with this very mapping."""

    def answered(self, model: str, version: int, engine: str, protocol: str, stages_s: Stages) -> None:
        """The request was answered."""

    def failed(self, model: str, version: str, protocol: str, error: ServingError, seconds: float) -> None:
        """The request was refused or failed; model and version are empty unless they exist."""


class Witness(Protocol):
    """Whoever tells of requests."""

    def begin(self, asker: Asker) -> Account:
        """A request for inference came."""
