"""What travels between the rooms: frozen values only.

A deadline is a point on the event loop's clock (seconds, `loop.time()`, which is `time.monotonic()`), fixed when the
request came in and never restarted on the way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from gateway.core.tensors import Tensor


class InferRequest(NamedTuple):
    """A decoded request. `engine` None lets routing decide, `outputs` () is all.

    `version` is always one number: whoever decodes chooses it first (`Router.version`: the one named, the live one or
    the canary), because the inputs are decoded by that version's signature.
    """

    model: str
    version: int
    inputs: Mapping[str, Tensor]
    deadline: float
    engine: str | None = None
    outputs: tuple[str, ...] = ()


class InferAnswer(NamedTuple):
    """The outputs of one request, who gave them, and where its time went (seconds)."""

    model: str
    version: int
    engine: str
    outputs: Mapping[str, Tensor]
    queue_s: float
    upstream_s: float


@dataclass(frozen=True, slots=True)
class EngineBatch:
    """What an engine is asked: rows of one or several requests for one version, in one call.

    `metadata` goes along as headers, by lower-case names; whoever puts it there has seen that it can.
    """

    model: str
    version: int
    inputs: Mapping[str, Tensor]
    deadline: float
    metadata: tuple[tuple[str, str], ...] = ()
