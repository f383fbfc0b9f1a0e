"""Every sample is reported exactly once, whatever the server does."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from loadtest.referee.asking import Address, Asking, judge_all
from tests.platform_process import wait_until_async

OK = b"HTTP/1.1 200 OK\r\nx-engine: tfserving\r\ncontent-length: 2\r\n\r\nhi"
SAMPLES = [(100 + number, number % 3) for number in range(40)]

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def ask_all(talk: Talk, timeout_s: float = 20.0, connections: int = 4) -> tuple[list[int], Asking]:
    """What was reported, in order."""
    reported: list[int] = []

    async def close_after(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(close_after, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        address = Address("127.0.0.1", port, (b"0\n", b"1\n", b"2\n"))
        async with Asking(address, reported.append, timeout_s, connections) as asking:
            asking.ask(SAMPLES[:1])
            asking.ask(SAMPLES[1:])

            async def is_done() -> bool:
                return len(reported) >= len(SAMPLES)

            await wait_until_async(is_done, 20, "all reported")
    return reported, asking


def kinds(asking: Asking) -> list[str]:
    return [
        asked.kind for asked in judge_all(asking.ended, lambda number, answer: "" if answer.body == b"hi" else "no")
    ]


async def test_all_are_answered_by_at_most_so_many_connections() -> None:
    seen: set[int] = set()
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.add(id(writer))
        while line := await reader.readline():
            asked.append(line)
            writer.write(OK)

    reported, asking = await ask_all(talk)
    assert sorted(reported) == [token for token, _ in SAMPLES]
    assert sorted(asked) == sorted(b"%d\n" % index for _, index in SAMPLES)
    assert 1 < len(seen) <= 4
    assert kinds(asking) == ["right"] * len(SAMPLES)


async def test_connections_that_break_lose_what_they_owed_and_no_more() -> None:
    served = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        while await reader.readline():
            served += 1
            if served % 8 == 0:
                return
            writer.write(OK)

    reported, asking = await ask_all(talk)
    assert sorted(reported) == [token for token, _ in SAMPLES]
    assert sorted(kinds(asking)) == ["lost"] * 5 + ["right"] * 35


@pytest.mark.parametrize(
    ("answer", "kind", "fault"),
    [
        (b"HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nbusy", "refused", "status 503: busy"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno", "wrong", "no"),
        (b"nonsense\r\n\r\n", "lost", "no HTTP answer"),
    ],
)
async def test_bad_answers_are_told_apart(answer: bytes, kind: str, fault: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(answer)

    reported, asking = await ask_all(talk)
    assert sorted(reported) == [token for token, _ in SAMPLES]
    asked = judge_all(asking.ended, lambda number, answer: "" if answer.body == b"hi" else "no")
    assert {each.kind for each in asked} == {kind}
    assert all(fault in each.fault for each in asked)


async def test_who_never_answers_is_given_up() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    reported, asking = await ask_all(talk, timeout_s=0.1, connections=len(SAMPLES))
    assert sorted(reported) == [token for token, _ in SAMPLES]
    assert "no answer within 0.1 s" in asking.ended[0].fault


async def test_when_nothing_is_answered_the_line_does_not_wait_a_timeout_for_each_turn() -> None:
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            asked.append(line)

    reported, asking = await ask_all(talk, timeout_s=0.2)
    assert sorted(reported) == [token for token, _ in SAMPLES]
    assert set(kinds(asking)) == {"lost"}
    assert len(asked) == 4
    faults = [ended.fault.partition(" within 0.2 s")[0] for ended in asking.ended]
    assert sorted(faults) == ["no answer"] * 4 + ["nothing was answered"] * 36


async def test_a_long_line_is_not_lost_while_answers_come() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            await asyncio.sleep(0.02)
            writer.write(OK)

    _, asking = await ask_all(talk, timeout_s=0.5, connections=1)  # the last one waits longer than that
    assert kinds(asking) == ["right"] * len(SAMPLES)


async def test_nobody_there_loses_all_at_once() -> None:
    reported: list[int] = []
    async with Asking(Address("127.0.0.1", 1, (b"\n",) * 3), reported.append) as asking:
        asking.ask(SAMPLES)

        async def is_done() -> bool:
            return len(reported) == len(SAMPLES)

        await wait_until_async(is_done, 20, "all reported")
    assert set(kinds(asking)) == {"lost"}
