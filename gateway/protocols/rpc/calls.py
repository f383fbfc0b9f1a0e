"""One gRPC call of any service: what the client said beside its message, and how answers and errors are told.

Rules: services take bytes and give bytes. A message that cannot be parsed is then the client's fault like any other
(a deserializer given to grpc would make it UNKNOWN), and parsing is part of the time it took. Every answer and every
error has its `x-request-id`. Must not know what any service means.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any, NamedTuple, NoReturn

import grpc
from google.protobuf.message import DecodeError

from gateway.core.errors import InvalidRequest, ServingError
from gateway.protocols.grpc_status import OURS, metadata_of, status_of
from gateway.protocols.request_id import request_id_from
from gateway.protocols.rpc.message_bounds import check_bounds
from gateway.protocols.witness import Account, Asker, Witness

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[bytes, bytes]

Pairs = tuple[tuple[str, str], ...]
"""Metadata as grpc takes it."""


class Caller(NamedTuple):
    """What a client said beside its message; `timeout_s` is what is left of its deadline, None without one.

    `started` is on the clock of perf_counter, `arrived` on the event loop's; `said` is all of its metadata.
    """

    request_id: str
    route_key: str
    engine: str | None
    authorization: str
    timeout_s: float | None
    started: float
    arrived: float
    said: Mapping[str, Any]


class Told(NamedTuple):
    """A serialized answer, and the metadata that goes with it."""

    message: bytes
    metadata: Pairs = ()


Answer = Callable[[bytes, Caller], Awaitable[Told]]


def caller_of(context: Context) -> Caller:
    """Read the call's metadata and deadline; of a key that is there twice the last counts."""
    started = perf_counter()
    said: dict[str, Any] = dict(context.invocation_metadata() or ())  # only keys that end in -bin are not of text
    request_id = request_id_from(said.get("x-request-id", ""))
    return Caller(
        request_id=request_id,
        route_key=said.get("x-route-key") or request_id,
        engine=said.get("x-engine"),
        authorization=said.get("authorization", ""),
        timeout_s=context.time_remaining(),
        started=started,
        arrived=asyncio.get_running_loop().time(),
        said=said,
    )


def account_of(witness: Witness, caller: Caller, method: str) -> Account:
    """Begin the account of a call; `method` is its full name, without the slash before it."""
    traceparent, tracestate = (caller.said.get(key, "") for key in ("traceparent", "tracestate"))
    return witness.begin(Asker(caller.request_id, "", method, method, traceparent, tracestate))


def unary(answer: Answer) -> Any:
    """The handler of a call with one message each way. Metadata is sent first, and again last, where errors have it."""

    async def handle(message: bytes, context: Context) -> bytes:
        caller = caller_of(context)
        try:
            answered = await answer(message, caller)
        except Exception as error:  # noqa: BLE001 - the edge of the room: every client gets an answer
            await refuse(context, caller, error)
        # With the answer and not before it: sent first it is a message of its own, which costs grpc.aio 0.1 ms.
        context.set_trailing_metadata((("x-request-id", caller.request_id), *answered.metadata))
        return answered.message

    return grpc.unary_unary_rpc_method_handler(handle)


def plain(kind: Any, tell: Callable[[Any], Any]) -> Any:
    """The handler of a call that is answered at once, from the request of this kind alone."""

    async def answer(message: bytes, _: Caller) -> Told:
        return told(tell(parse(kind, message)))

    return unary(answer)


def told(response: Any) -> Told:
    """A message as an answer without metadata."""
    return Told(bytes(response.SerializeToString()))


async def refuse(context: Context, caller: Caller, error: Exception) -> NoReturn:
    """End a call with the status for an error of the core; for any other, which is a bug, with INTERNAL."""
    if not isinstance(error, ServingError):
        log.error("a bug answered INTERNAL", exc_info=error)
        error = ServingError("internal error; see the gateway's log")
    status = status_of(error)
    if status in OURS:
        log.warning("answered %s: %s", status.name, error.message)
    metadata = (("x-request-id", caller.request_id), *metadata_of(error).items())
    await context.abort(status, error.message, metadata)


def parse(kind: Any, message: bytes) -> Any:
    """The message of this kind. Raises InvalidRequest when the bytes are none, or would become too much."""
    check_bounds(message, kind.DESCRIPTOR)
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise InvalidRequest(f"malformed {kind.DESCRIPTOR.name}: {error}") from error
