"""What travels between the rooms: frozen values only.

A deadline is a point on the event loop's clock (seconds, `loop.time()`), fixed when the request came in and never
restarted on the way.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.tensors import Tensor


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A decoded request. `version` None is the live one, `engine` None lets routing decide, `outputs` () is all.

    While a canary runs, requests with the same `route_key` that name no version are answered by the same one.
    """

    model: str
    version: int | None
    inputs: Mapping[str, Tensor]
    deadline: float
    engine: str | None = None
    outputs: tuple[str, ...] = ()
    route_key: str = ""


@dataclass(frozen=True, slots=True)
class InferAnswer:
    """The outputs of one request, who gave them, and where its time went (seconds)."""

    model: str
    version: int
    engine: str
    outputs: Mapping[str, Tensor]
    queue_s: float
    upstream_s: float


@dataclass(frozen=True, slots=True)
class EngineBatch:
    """What an engine is asked: rows of one or several requests for one version, in one call."""

    model: str
    version: int
    inputs: Mapping[str, Tensor]
    deadline: float
