"""Calls with many messages: each is answered like one of its own, several at once, in the order they came.

Rules: a client may be ahead of its answers by a bounded number of messages; more are not read. A call whose client goes
away is cancelled with everything in it. When the server drains, nothing more is read, and what was read is answered.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import grpc

from gateway.protocols.rpc.calls import Caller, Context, caller_of, refuse

MOST_AHEAD = 64

AnswerOne = Callable[[bytes, Caller], Coroutine[Any, Any, bytes]]
T = TypeVar("T")


def stream(answer_one: AnswerOne, draining: asyncio.Event) -> Any:
    """The handler of a call with messages both ways; `answer_one` tells of errors in its answer and raises none."""

    async def handle(messages: AsyncIterator[bytes], context: Context) -> None:
        caller = caller_of(context)
        await context.send_initial_metadata((("x-request-id", caller.request_id),))
        try:
            await _converse(until_set(draining, messages), context, caller, answer_one)
        except ExceptionGroup as group:
            await refuse(context, caller, group.exceptions[0])

    return grpc.stream_stream_rpc_method_handler(handle)


async def _converse(messages: AsyncIterator[bytes], context: Context, caller: Caller, answer_one: AnswerOne) -> None:
    answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue()
    room = asyncio.Semaphore(MOST_AHEAD)

    async def read() -> None:
        async for message in messages:
            await room.acquire()
            now = caller_of(context)  # each message has its own beginning, and what is left of the call's deadline
            asked = replace(now, request_id=caller.request_id, route_key=caller.route_key)
            answers.put_nowait(tasks.create_task(answer_one(message, asked)))
        answers.put_nowait(None)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read())
        while (answer := await answers.get()) is not None:
            await context.write(await answer)
            room.release()


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
