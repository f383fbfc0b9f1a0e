"""What a conversation is about: a call as its transport has it, the question in its body, and the reply."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import Generic, NamedTuple, TypeVar

from gateway.core.messages import InferAnswer
from gateway.core.router import VersionRoute
from gateway.core.tensors import Tensor
from gateway.core.usage import Stages
from gateway.protocols.witness import Account

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request as its transport has it, before its body is understood; made on arrival.

    `version` None is whichever answers now, and then `route_key` draws who is among a canary's share. `engine` and
    `timeout_s` are what the client said outside of the body. `account` is there while somebody tells of single
    requests.
    """

    protocol: str
    model: str
    version: int | None
    route_key: str
    engine: str | None = None
    timeout_s: float | None = None
    started: float = field(default_factory=perf_counter)
    arrived: float = field(default_factory=monotonic)
    account: Account | None = None


class Question(NamedTuple, Generic[T]):
    """What a dialect made of a body: the tensors, and how the client wants them answered.

    `encode_aside` is for answers that take long to write; where there is one, `encode` is not asked.
    `may_be_empty`: the dialect answers inputs of no rows with outputs of none, which takes no engine.
    """

    inputs: dict[str, Tensor]
    encode: Callable[[InferAnswer], T]
    outputs: tuple[str, ...] = ()
    engine: str | None = None
    timeout_s: float | None = None
    may_be_empty: bool = False
    encode_aside: Callable[[InferAnswer], Awaitable[T]] | None = None


Decode = Callable[[VersionRoute], Question[T] | Awaitable[Question[T]]]
"""Reads a body by the signature of the version it is given. Awaited, and bounded in time, only where it has to wait."""


class Reply(NamedTuple, Generic[T]):
    """An encoded answer, who gave it, and its stages (seconds)."""

    content: T
    engine: str
    version: int
    stages_s: Stages

    @property
    def server_timing(self) -> str:
        """The stages as a Server-Timing header writes them (W3C Server Timing)."""
        decode_s, queue_s, upstream_s, encode_s, total_s = self.stages_s
        return (
            f"decode;dur={decode_s * 1e3:.3f}, queue;dur={queue_s * 1e3:.3f}, upstream;dur={upstream_s * 1e3:.3f}, "
            f"encode;dur={encode_s * 1e3:.3f}, total;dur={total_s * 1e3:.3f}"
        )
