"""W3C Trace Context (www.w3.org/TR/trace-context): what a client says of its trace, and what is said to engines.

Rules: pure, but for the random numbers of new ids. What a client sends is taken only when it is well formed. Must not
know who exports spans.
"""

import random
import re
from typing import NamedTuple

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_KEY = r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
_MEMBER = re.compile(_KEY + r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_LONGEST_STATE = 512
_MOST_MEMBERS = 32
_SAMPLED = 1
_ID_BITS = 64


class Parent(NamedTuple):
    """The span that a request was sent from."""

    trace_id: int
    span_id: int
    is_sampled: bool


class Trace(NamedTuple):
    """A request's place in its trace; `parent_id` is 0 for the first span of a trace.

    `upstream_id` is of the span that an engine is asked in: what engines do hangs below it.
    """

    trace_id: int
    parent_id: int
    span_id: int
    upstream_id: int
    is_sampled: bool
    state: str = ""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What an engine is told."""
        parent = f"00-{self.trace_id:032x}-{self.upstream_id:016x}-{self.is_sampled:02x}"
        return (("traceparent", parent), ("tracestate", self.state)) if self.state else (("traceparent", parent),)


def decode_parent(text: str) -> Parent | None:
    """The value of `traceparent`, of version 00 or as much of a later one as is 00's; None when it is malformed."""
    found = _PARENT.fullmatch(text)
    if found is None:
        return None
    version, trace, span, flags, rest = found.groups()
    parent = Parent(int(trace, 16), int(span, 16), bool(int(flags, 16) & _SAMPLED))
    is_known = version != "ff" and not (version == "00" and rest)
    return parent if is_known and parent.trace_id and parent.span_id else None


def new_id() -> int:
    """The id of a span."""
    return random.getrandbits(_ID_BITS) or 1


def _is_state(text: str) -> bool:
    """Whether a value of `tracestate` is a list of members key=value, no key twice."""
    members = [member.strip(" \t") for member in text.split(",")] if len(text) <= _LONGEST_STATE else []
    keys = {member.partition("=")[0] for member in members}
    return 0 < len(members) == len(keys) <= _MOST_MEMBERS and all(map(_MEMBER.fullmatch, members))


class Sampler:
    """Decides of new traces which are told, and follows the parent's decision in others."""

    def __init__(self, share: float) -> None:
        """`share` of the new traces are told, 0 to 1."""
        self._bound = round(share * 2**_ID_BITS)

    def place(self, traceparent: str, tracestate: str) -> Trace:
        """A request's place in the trace that it says it belongs to, or in a new one."""
        parent = decode_parent(traceparent)
        if parent is not None:
            state = tracestate if tracestate and _is_state(tracestate) else ""
            return Trace(parent.trace_id, parent.span_id, new_id(), new_id(), parent.is_sampled, state)
        trace_id = random.getrandbits(2 * _ID_BITS) or 1
        is_sampled = trace_id % 2**_ID_BITS < self._bound
        return Trace(trace_id, 0, new_id(), new_id(), is_sampled)
