"""Calls with many messages: each is answered like one of its own, several at once, in the order they came.

Rules: a client may be ahead of its answers by a bounded number of messages and of bytes; more are not read. A call
whose client goes away is cancelled with everything in it. When the server drains, nothing more is read, and what was
read is answered.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import grpc

from gateway.core.errors import ServingError
from gateway.protocols.rpc.calls import Caller, Context, caller_of, refuse
from gateway.protocols.rpc.seats import Seats

MOST_AHEAD = 64
MOST_AHEAD_BYTES = 16 * 1024 * 1024
"""A message that is larger is read when no other waits for its answer."""

AnswerOne = Callable[[bytes, Caller], Coroutine[Any, Any, bytes]]
T = TypeVar("T")


def stream(answer_one: AnswerOne, draining: asyncio.Event, seats: Seats) -> Any:
    """The handler of a call with messages both ways; `answer_one` tells of errors in its answer and raises none."""

    async def handle(messages: AsyncIterator[bytes], context: Context) -> None:
        caller = caller_of(context)
        try:
            with seats.taken():
                await context.send_initial_metadata((("x-request-id", caller.request_id),))
                await _converse(until_set(draining, messages), context, caller, answer_one)
        except ServingError as error:
            await refuse(context, caller, error)
        except ExceptionGroup as group:
            await refuse(context, caller, group.exceptions[0])

    return grpc.stream_stream_rpc_method_handler(handle)


class _Room:
    """How far a client is ahead of its answers: in messages, and in their bytes."""

    def __init__(self) -> None:
        self._messages = 0
        self._bytes = 0
        self._freed = asyncio.Event()

    async def take(self, size_bytes: int) -> None:
        """Wait until there is room for another message; there is for one of any size that is alone."""
        while self._messages and not self._has_room(size_bytes):
            self._freed.clear()
            await self._freed.wait()
        self._messages += 1
        self._bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        self._messages -= 1
        self._bytes -= size_bytes
        self._freed.set()

    def _has_room(self, size_bytes: int) -> bool:
        return self._messages < MOST_AHEAD and self._bytes + size_bytes <= MOST_AHEAD_BYTES


async def _converse(messages: AsyncIterator[bytes], context: Context, caller: Caller, answer_one: AnswerOne) -> None:
    answers: asyncio.Queue[tuple[asyncio.Task[bytes], int] | None] = asyncio.Queue()
    room = _Room()

    async def read() -> None:
        async for message in messages:
            await room.take(len(message))
            now = caller_of(context)  # each message has its own beginning, and what is left of the call's deadline
            asked = now._replace(request_id=caller.request_id, route_key=caller.route_key)
            answers.put_nowait((tasks.create_task(answer_one(message, asked)), len(message)))
        answers.put_nowait(None)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read())
        while (coming := await answers.get()) is not None:
            answer, size_bytes = coming
            await context.write(await answer)
            room.give_back(size_bytes)


async def until_set(end: asyncio.Event, messages: AsyncIterator[T]) -> AsyncIterator[T]:
    """The messages of a client, until there are no more or `end` is set."""
    ended = asyncio.ensure_future(end.wait())
    try:
        while True:
            coming = asyncio.ensure_future(_next(messages))
            try:
                await asyncio.wait((coming, ended), return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not coming.done():
                    coming.cancel()
            if not coming.done() or not (come := coming.result()):
                return
            yield come[0]
    finally:
        ended.cancel()


async def _next(messages: AsyncIterator[T]) -> tuple[T, ...]:
    """The next message alone, or nothing."""
    async for message in messages:
        return (message,)
    return ()
